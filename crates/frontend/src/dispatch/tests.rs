//! The dispatcher over process-local links: real rings, real arena, workers played by the test.

use std::num::NonZeroUsize;
use std::time::Duration;

use tserve_shm::wire::{InputRef, RequestWriter, ValueRef};
use tserve_shm::{
    Arena, ArenaLimits, Completions, LinkConfig, ReplyItemRef, Submission, WorkerLink, local,
};

use super::*;

mod rounds;

const LIMITS: ReplyLimits = ReplyLimits {
    max_response_size: 1 << 16,
    error_detail: false,
};

struct Bench {
    arena: Arena,
    dispatcher: Arc<Dispatcher>,
}

/// A worker played by the test, and the server's end of its link.
struct TestWorker {
    link: WorkerLink,
    completions: Completions,
    in_flight: Arc<InFlight>,
}

type Answer = BegunReceiver;

impl Bench {
    fn new(batch_size: usize, delay: Duration, places: usize) -> Self {
        Self::of(Kind::Batches, batch_size, delay, places)
    }

    fn of(kind: Kind, batch_size: usize, delay: Duration, places: usize) -> Self {
        let policy = Policy {
            batch_size: NonZeroUsize::new(batch_size).expect("not zero"),
            max_batch_delay: delay,
        };
        Self {
            arena: local::arena(&ArenaLimits {
                capacity_bytes: 1 << 20,
            })
            .expect("heap"),
            dispatcher: Dispatcher::start(kind, policy, places, None),
        }
    }

    fn attach(&self, id: u64, batch_size: u32) -> TestWorker {
        let config = LinkConfig {
            depth: LINK_DEPTH,
            max_batch: batch_size,
            reply_bytes: 1 << 16,
        };
        let (submitter, completions, link) =
            local::create_link(&config, &self.arena).expect("heap");
        let in_flight = InFlight::new(self.dispatcher.kind());
        self.dispatcher
            .attach(id, submitter, Arc::clone(&in_flight));
        TestWorker {
            link,
            completions,
            in_flight,
        }
    }

    fn job(&self, body: &str) -> (Job, Answer) {
        let input = InputRef {
            name: "body",
            content_type: "",
            value: ValueRef::Inline(body.as_bytes()),
        };
        let record = RequestWriter {
            id: body,
            headers: &[],
            inputs: &[input],
        };
        let mut meta = self.arena.allocate(record.encoded_len()).expect("room");
        record.write(&mut meta);
        let (reply, answer) = ReplySlot::new(None);
        let request = EncodedRequest::new(meta, None);
        (
            Job {
                request,
                arrived: Instant::now(),
                reply,
                client: None,
                sequence: None,
            },
            answer,
        )
    }

    /// Lets the worker answer one request at once, so that it is known to be quick.
    async fn prove_quick(&self, worker: &mut TestWorker) {
        let answer = self.push("quick");
        let batch = worker.receive().expect("a batch");
        worker.answer(&batch, &self.dispatcher);
        assert_eq!(body(answer).await, "quick");
    }

    fn push(&self, body: &str) -> Answer {
        let (job, answer) = self.job(body);
        assert!(self.dispatcher.push(job).is_ok(), "queue has room");
        answer
    }
}

impl TestWorker {
    fn receive(&self) -> Option<Submission> {
        self.link.receive(Some(Duration::from_millis(200))).ok()
    }

    fn bodies(&self, batch: &Submission) -> Vec<String> {
        let id = |job| self.link.request(job).expect("a record").id().to_owned();
        batch.jobs.iter().map(id).collect()
    }

    /// Answers a batch with the ids of its requests and lets the server collect.
    fn answer(&mut self, batch: &Submission, dispatcher: &Dispatcher) {
        let bodies = self.bodies(batch);
        let items: Vec<_> = bodies
            .iter()
            .enumerate()
            .map(|(index, body)| ReplyItemRef {
                index: u32::try_from(index).expect("small"),
                status: 200,
                phrase: None,
                headers: &[],
                body: body.as_bytes(),
            })
            .collect();
        self.link
            .reply(batch.batch_id, 200, "ok", true, &items)
            .expect("room");
        let completion = self.completions.poll().expect("sound").expect("a reply");
        let batch = self.in_flight.take().expect("in flight");
        assert_eq!(batch.id, completion.batch_id);
        if let Some(round) = batch.answer(completion.reply, LIMITS) {
            self.in_flight.give_back(round);
        }
        self.in_flight.finish();
        dispatcher.pump();
    }
}

async fn body(answer: Answer) -> String {
    let reply = match answer.await.expect("answered").expect("a reply") {
        Begun::Whole(reply) => reply,
        Begun::Stream(_) => panic!("nobody sends in parts here"),
    };
    String::from_utf8(reply.body.to_vec()).expect("text")
}

#[tokio::test]
async fn a_request_reaches_an_idle_worker_at_once_and_its_answer_comes_back() {
    let bench = Bench::new(1, Duration::ZERO, 8);
    let mut worker = bench.attach(1, 1);
    let answer = bench.push("a");
    let batch = worker.receive().expect("a batch");
    worker.answer(&batch, &bench.dispatcher);
    assert_eq!(body(answer).await, "a");
    assert_eq!(
        bench.arena.used_bytes(),
        0,
        "the request's memory is free again"
    );
}

#[tokio::test]
async fn requests_wait_for_a_worker_that_is_still_loading() {
    let bench = Bench::new(1, Duration::ZERO, 8);
    let answer = bench.push("early");
    let mut worker = bench.attach(1, 1);
    let batch = worker.receive().expect("a batch");
    worker.answer(&batch, &bench.dispatcher);
    assert_eq!(body(answer).await, "early");
}

#[tokio::test]
async fn a_busy_worker_is_given_one_full_batch_ahead_that_still_counts_as_queued() {
    let bench = Bench::new(1, Duration::ZERO, 2);
    let mut worker = bench.attach(1, 1);
    bench.prove_quick(&mut worker).await;
    let answers = [
        bench.push("runs"),
        bench.push("ahead"),
        bench.push("queued"),
    ];
    assert_eq!(bench.dispatcher.waiting(), 2);
    let (job, _answer) = bench.job("too many");
    let refused = bench.dispatcher.push(job);
    assert!(
        matches!(&refused, Err(PushError::Full(_))),
        "two places, two wait"
    );
    if let Err(PushError::Full(job)) = refused {
        job.reply.disarm();
    }
    for _ in 0..3 {
        let batch = worker.receive().expect("a batch");
        worker.answer(&batch, &bench.dispatcher);
    }
    for (answer, expected) in answers.into_iter().zip(["runs", "ahead", "queued"]) {
        assert_eq!(body(answer).await, expected);
    }
    assert_eq!(bench.dispatcher.waiting(), 0);
}

#[tokio::test]
async fn a_quick_worker_that_is_alone_gets_many_batches_ahead_and_all_of_them_count_as_queued() {
    let bench = Bench::new(1, Duration::ZERO, 64);
    let mut worker = bench.attach(1, 1);
    bench.prove_quick(&mut worker).await;
    let names: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let answers: Vec<_> = names.iter().map(|name| bench.push(name)).collect();
    assert_eq!(
        bench.dispatcher.waiting(),
        39,
        "one runs, the others wait, on the link or not"
    );
    // A second worker gets what is not on the first one's link.
    let mut second = bench.attach(2, 1);
    let batch = second.receive().expect("a batch");
    let first: u32 = second.bodies(&batch)[0].parse().expect("a number");
    assert!((1..=LINK_DEPTH).contains(&first), "{first} on the link");
    second.answer(&batch, &bench.dispatcher);
    let mut done = 1;
    while done < names.len() {
        for one in [&mut worker, &mut second] {
            while let Some(batch) = one.receive() {
                one.answer(&batch, &bench.dispatcher);
                done += 1;
            }
        }
    }
    for (answer, name) in answers.into_iter().zip(&names) {
        assert_eq!(&body(answer).await, name);
    }
    assert_eq!(bench.dispatcher.waiting(), 0);
}

#[tokio::test]
async fn a_partial_batch_goes_when_its_delay_is_over() {
    let bench = Bench::new(4, Duration::from_millis(50), 8);
    let worker = bench.attach(1, 4);
    let answers = [bench.push("a"), bench.push("b")];
    assert!(
        worker.link.receive(Some(Duration::from_millis(1))).is_err(),
        "not due yet"
    );
    // The timer task needs the runtime; the wait for the batch must not block it.
    let (batch, mut worker) = tokio::task::spawn_blocking(move || {
        let batch = worker
            .link
            .receive(Some(Duration::from_secs(5)))
            .expect("a batch");
        (batch, worker)
    })
    .await
    .expect("joined");
    assert_eq!(worker.bodies(&batch), ["a", "b"]);
    worker.answer(&batch, &bench.dispatcher);
    for (answer, expected) in answers.into_iter().zip(["a", "b"]) {
        assert_eq!(body(answer).await, expected);
    }
}

#[tokio::test]
async fn what_a_lost_worker_had_not_begun_goes_to_the_next_one_in_order() {
    let bench = Bench::new(1, Duration::ZERO, 8);
    let mut worker = bench.attach(1, 1);
    bench.prove_quick(&mut worker).await;
    let answers = [
        bench.push("first"),
        bench.push("second"),
        bench.push("third"),
    ];
    // The worker takes nothing and is lost.
    let end = bench.dispatcher.detach(1).await.expect("attached");
    assert_eq!(end.submitter.started(), 1, "the quick one only");
    let mut unstarted = Vec::new();
    while let Some(batch) = worker.in_flight.take() {
        unstarted.extend(batch.into_jobs());
        worker.in_flight.finish();
    }
    bench.dispatcher.release(end.unreleased);
    bench.dispatcher.put_back(unstarted);
    let mut second = bench.attach(2, 1);
    for _ in 0..3 {
        let batch = second.receive().expect("a batch");
        second.answer(&batch, &bench.dispatcher);
    }
    for (answer, expected) in answers.into_iter().zip(["first", "second", "third"]) {
        assert_eq!(body(answer).await, expected);
    }
    assert_eq!(bench.dispatcher.waiting(), 0);
}

#[tokio::test]
async fn a_request_whose_client_is_gone_never_reaches_a_worker() {
    let bench = Bench::new(1, Duration::ZERO, 8);
    drop(bench.push("abandoned"));
    let answer = bench.push("wanted");
    let mut worker = bench.attach(1, 1);
    let batch = worker.receive().expect("a batch");
    assert_eq!(worker.bodies(&batch), ["wanted"]);
    worker.answer(&batch, &bench.dispatcher);
    assert_eq!(body(answer).await, "wanted");
}

#[tokio::test]
async fn closing_answers_what_waits_and_refuses_what_comes() {
    let bench = Bench::new(1, Duration::ZERO, 8);
    let answer = bench.push("waits");
    bench
        .dispatcher
        .close(Error::Unavailable("removed".to_owned()));
    let error = answer.await.expect("answered").expect_err("an error");
    assert_eq!(error, Error::Unavailable("removed".to_owned()));
    let (job, _answer) = bench.job("late");
    let refused = bench.dispatcher.push(job);
    assert!(matches!(&refused, Err(PushError::Closed(_))));
    if let Err(PushError::Closed(job)) = refused {
        job.reply.disarm();
    }
}

#[tokio::test]
async fn a_reply_that_leaves_a_request_out_fails_that_request_only() {
    let bench = Bench::new(2, Duration::from_secs(60), 8);
    let mut worker = bench.attach(1, 2);
    let answers = [bench.push("a"), bench.push("b")];
    let batch = worker.receive().expect("a full batch");
    // Two answers for `b`, none for `a`.
    let item = |index, body| ReplyItemRef {
        index,
        status: 200,
        phrase: None,
        headers: &[],
        body,
    };
    let items = [item(1, b"right".as_slice()), item(1, b"wrong")];
    worker
        .link
        .reply(batch.batch_id, 200, "ok", true, &items)
        .expect("room");
    let completion = worker.completions.poll().expect("sound").expect("a reply");
    let in_flight = worker.in_flight.take().expect("in flight");
    in_flight.answer(completion.reply, LIMITS);
    let [a, b] = answers;
    assert!(matches!(
        a.await.expect("answered"),
        Err(Error::Worker { status: 500, .. })
    ));
    assert_eq!(body(b).await, "right");
}

/// A worker that finishes while it is being given its next batch must not cost a place.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn places_come_back_however_chosen_and_finished_batches_interleave() {
    const PLACES: usize = 8;
    let bench = Bench::new(1, Duration::ZERO, PLACES);
    let mut worker = bench.attach(1, 1);
    let dispatcher = Arc::clone(&bench.dispatcher);
    let served = std::thread::spawn(move || {
        let mut served = 0;
        while let Some(batch) = worker.receive() {
            worker.answer(&batch, &dispatcher);
            served += 1;
        }
        served
    });
    let rounds = 20_000;
    let mut refused = 0;
    let mut answers = std::collections::VecDeque::new();
    for round in 0..rounds {
        let (job, answer) = bench.job(&round.to_string());
        match bench.dispatcher.push(job) {
            Ok(()) => answers.push_back(answer),
            Err(PushError::Full(job) | PushError::Closed(job)) => {
                job.reply.disarm();
                refused += 1;
            }
        }
        if answers.len() > 3
            && let Some(answer) = answers.pop_front()
        {
            body(answer).await;
        }
    }
    for answer in answers {
        body(answer).await;
    }
    assert_eq!(refused, 0, "four requests at a time, eight places");
    assert_eq!(bench.dispatcher.waiting(), 0);
    assert_eq!(
        tokio::task::spawn_blocking(move || served.join())
            .await
            .expect("joined")
            .expect("ended"),
        rounds
    );
}
