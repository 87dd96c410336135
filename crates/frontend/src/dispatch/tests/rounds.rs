//! Workers in rounds: who joins whom, what stays, what is lost.

use super::*;

const FAR: Duration = Duration::from_secs(60);

fn continuous() -> Kind {
    Kind::Rounds {
        is_continuous: true,
        sequences: None,
        end_header: "end".to_owned(),
    }
}

fn sequences(most: usize, most_waiting: usize, idle: Duration) -> Kind {
    Kind::Rounds {
        is_continuous: false,
        sequences: Some(SequenceLimits {
            most,
            most_waiting,
            idle,
            lifetime: None,
        }),
        end_header: "end".to_owned(),
    }
}

impl Bench {
    /// Queues a request of the sequence that its first letter names; a capital one is its last.
    fn push_to_sequence(&self, body: &str) -> Answer {
        let (mut job, answer) = self.job(body);
        let id = body[..1].to_lowercase();
        let refusal = Error::Unavailable("refused".to_owned());
        job.sequence = Some(SequenceTag::new(
            id,
            body.starts_with(char::is_uppercase),
            refusal,
        ));
        assert!(self.dispatcher.push(job).is_ok(), "queue has room");
        answer
    }
}

impl TestWorker {
    /// Answers a round: `(body, header)` per request.
    fn answer_round(
        &mut self,
        batch: &Submission,
        dispatcher: &Dispatcher,
        answers: &[(&str, Option<(&str, &str)>)],
    ) {
        let headers: Vec<Vec<(&str, &str)>> = answers
            .iter()
            .map(|(_, header)| header.iter().copied().collect())
            .collect();
        let items: Vec<_> = (0_u32..)
            .zip(answers)
            .map(|(index, (body, _))| ReplyItemRef {
                index,
                status: 200,
                phrase: None,
                headers: &headers[index as usize],
                body: body.as_bytes(),
            })
            .collect();
        self.link
            .reply(batch.batch_id, 200, "ok", true, &items)
            .expect("room");
        let completion = self.completions.poll().expect("sound").expect("a reply");
        let batch = self.in_flight.take().expect("in flight");
        if let Some(round) = batch.answer(completion.reply, LIMITS) {
            self.in_flight.give_back(round);
        }
        self.in_flight.finish();
        dispatcher.pump();
    }

    fn inputs(&self, batch: &Submission) -> Vec<usize> {
        let count = |job| self.link.request(job).expect("a record").inputs().len();
        batch.jobs.iter().map(count).collect()
    }

    fn has_nothing(&self) -> bool {
        self.link.receive(Some(Duration::from_millis(1))).is_err()
    }
}

const MORE: Option<(&str, &str)> = Some(("ts_stream_next", "true"));
const DONE: Option<(&str, &str)> = Some(("ts_stream_next", "false"));

async fn stream_of(answer: Answer) -> String {
    let Begun::Stream(stream) = answer.await.expect("answered").expect("a reply") else {
        panic!("it comes in parts");
    };
    let reply = stream.join().await.expect("no error");
    String::from_utf8(reply.body.to_vec()).expect("text")
}

#[tokio::test]
async fn a_request_comes_back_without_inputs_until_it_is_done_and_others_join() {
    let bench = Bench::of(continuous(), 2, Duration::ZERO, 8);
    let mut worker = bench.attach(1, 2);
    let first = bench.push("a");
    let round = worker.receive().expect("a round");
    assert_eq!(worker.inputs(&round), [1]);
    let second = bench.push("b");
    let third = bench.push("c");
    assert!(worker.has_nothing(), "one round at a time");
    worker.answer_round(&round, &bench.dispatcher, &[("1", MORE)]);
    let round = worker.receive().expect("a round");
    assert_eq!(worker.bodies(&round), ["a", "b"], "no more than a batch");
    assert_eq!(worker.inputs(&round), [0, 1]);
    worker.answer_round(&round, &bench.dispatcher, &[("2", DONE), ("whole", None)]);
    assert_eq!(stream_of(first).await, "12");
    assert_eq!(body(second).await, "whole");
    let round = worker.receive().expect("a round");
    assert_eq!(worker.bodies(&round), ["c"]);
    worker.answer_round(&round, &bench.dispatcher, &[("only", DONE)]);
    assert_eq!(body(third).await, "only", "over with its first part");
    assert_eq!(bench.dispatcher.waiting(), 0);
    assert_eq!(bench.arena.used_bytes(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_out_of_the_next_round() {
    let bench = Bench::of(continuous(), 2, Duration::ZERO, 8);
    let mut worker = bench.attach(1, 2);
    let staying = bench.push("a");
    let round = worker.receive().expect("a round");
    let leaving = bench.push("b");
    worker.answer_round(&round, &bench.dispatcher, &[("1", MORE)]);
    let round = worker.receive().expect("a round");
    drop(leaving);
    worker.answer_round(&round, &bench.dispatcher, &[("2", MORE), ("1", MORE)]);
    let round = worker.receive().expect("a round");
    assert_eq!(worker.bodies(&round), ["a"]);
    worker.answer_round(&round, &bench.dispatcher, &[("3", DONE)]);
    assert_eq!(stream_of(staying).await, "123");
}

#[tokio::test]
async fn what_a_lost_worker_ran_is_lost_and_what_waits_goes_to_the_next() {
    let bench = Bench::of(continuous(), 1, Duration::ZERO, 8);
    let mut worker = bench.attach(1, 1);
    let running = bench.push("a");
    let round = worker.receive().expect("a round");
    let waiting = bench.push("b");
    // Between two rounds: the reply has been read, the dispatcher has not been told.
    let Some(batch) = worker.in_flight.take() else {
        panic!("in flight")
    };
    let header = [("ts_stream_next", "true")];
    let item = ReplyItemRef {
        index: 0,
        status: 200,
        phrase: None,
        headers: &header,
        body: b"1",
    };
    worker
        .link
        .reply(round.batch_id, 200, "ok", true, &[item])
        .expect("room");
    let completion = worker.completions.poll().expect("sound").expect("a reply");
    let left = batch.answer(completion.reply, LIMITS).expect("a round");
    worker.in_flight.give_back(left);
    worker.in_flight.finish();
    let end = bench.dispatcher.detach(1).await.expect("attached");
    assert_eq!(end.lost.len(), 1);
    for job in end.lost {
        job.answer(Err(Error::worker_died(500)));
    }
    let Begun::Stream(stream) = running.await.expect("answered").expect("a reply") else {
        panic!("it had begun");
    };
    assert!(stream.join().await.is_err());
    let mut second = bench.attach(2, 1);
    let round = second.receive().expect("a round");
    assert_eq!(second.bodies(&round), ["b"]);
    second.answer_round(&round, &bench.dispatcher, &[("b", None)]);
    assert_eq!(body(waiting).await, "b");
}

#[tokio::test]
async fn a_worker_that_leaves_first_finishes_its_streams_and_takes_nothing_new() {
    let bench = Bench::of(continuous(), 2, Duration::ZERO, 8);
    let mut worker = bench.attach(1, 2);
    let running = bench.push("a");
    let round = worker.receive().expect("a round");
    let mut leaving = bench.dispatcher.leave(1);
    let waiting = bench.push("b");
    worker.answer_round(&round, &bench.dispatcher, &[("1", MORE)]);
    let round = worker.receive().expect("a round");
    assert_eq!(worker.bodies(&round), ["a"]);
    assert!(leaving.try_recv().is_err());
    worker.answer_round(&round, &bench.dispatcher, &[("2", DONE)]);
    assert!(leaving.await.expect("has left").lost.is_empty());
    assert_eq!(stream_of(running).await, "12");
    assert_eq!(bench.dispatcher.waiting(), 1);
    bench
        .dispatcher
        .close(Error::Unavailable("over".to_owned()));
    assert!(waiting.await.expect("answered").is_err());
}

#[tokio::test]
async fn a_batch_has_one_request_of_each_sequence_and_the_others_follow_in_order() {
    let bench = Bench::of(sequences(8, 8, FAR), 2, Duration::ZERO, 16);
    let mut worker = bench.attach(1, 2);
    let answers = ["a1", "a2", "b1", "a3", "b2"].map(|it| bench.push_to_sequence(it));
    let mut ran = Vec::new();
    for _ in 0..4 {
        if let Some(batch) = worker.receive() {
            ran.push(worker.bodies(&batch));
            worker.answer(&batch, &bench.dispatcher);
        }
    }
    assert_eq!(ran, [vec!["a1"], vec!["b1", "a2"], vec!["b2", "a3"]]);
    for (answer, expected) in answers.into_iter().zip(["a1", "a2", "b1", "a3", "b2"]) {
        assert_eq!(body(answer).await, expected);
    }
    assert_eq!(bench.dispatcher.waiting(), 0);
}

#[tokio::test]
async fn sequences_spread_over_workers_and_stay_there() {
    let bench = Bench::of(sequences(8, 8, FAR), 1, Duration::ZERO, 16);
    let mut workers = [bench.attach(1, 1), bench.attach(2, 1)];
    let mut places = std::collections::HashMap::new();
    for body in ["a1", "b1", "b2", "a2", "a3", "b3"] {
        let _answer = bench.push_to_sequence(body);
        let (place, batch) = (0..2)
            .find_map(|place| {
                let batch = workers[place].link.receive(Some(Duration::from_millis(5)));
                Some((place, batch.ok()?))
            })
            .expect("some worker has it");
        workers[place].answer(&batch, &bench.dispatcher);
        assert_eq!(*places.entry(body[..1].to_owned()).or_insert(place), place);
    }
    assert_ne!(places["a"], places["b"]);
}

#[tokio::test]
async fn limits_refuse_and_ends_make_room() {
    let bench = Bench::of(sequences(1, 1, FAR), 1, Duration::ZERO, 16);
    let mut worker = bench.attach(1, 1);
    let _a1 = bench.push_to_sequence("a1");
    let batch = worker.receive().expect("a batch");
    let _a2 = bench.push_to_sequence("a2");
    for refused in ["a3", "b1"] {
        let error = bench.push_to_sequence(refused).await.expect("answered");
        assert_eq!(error.err(), Some(Error::Unavailable("refused".to_owned())));
    }
    worker.answer(&batch, &bench.dispatcher);
    let batch = worker.receive().expect("a batch");
    // Its handler says that the sequence is over.
    worker.answer_round(&batch, &bench.dispatcher, &[("a2", Some(("End", "a;x")))]);
    let _b = bench.push_to_sequence("B1");
    let batch = worker.receive().expect("a batch");
    worker.answer(&batch, &bench.dispatcher);
    // Its client has said so.
    let _c = bench.push_to_sequence("c1");
    assert_eq!(worker.bodies(&worker.receive().expect("a batch")), ["c1"]);
}

#[tokio::test]
async fn an_idle_sequence_makes_room_for_another() {
    let bench = Bench::of(
        sequences(1, 1, Duration::from_millis(20)),
        1,
        Duration::ZERO,
        8,
    );
    let mut worker = bench.attach(1, 1);
    let _a = bench.push_to_sequence("a");
    let batch = worker.receive().expect("a batch");
    worker.answer(&batch, &bench.dispatcher);
    tokio::time::sleep(Duration::from_millis(25)).await;
    let _b = bench.push_to_sequence("b");
    assert_eq!(worker.bodies(&worker.receive().expect("a batch")), ["b"]);
}

#[tokio::test]
async fn with_a_worker_go_its_sequences_but_not_those_that_had_not_begun() {
    let bench = Bench::of(sequences(8, 8, FAR), 1, Duration::ZERO, 8);
    let worker = bench.attach(1, 1);
    let _running = bench.push_to_sequence("a1");
    let _batch = worker.receive().expect("a batch");
    let lost = bench.push_to_sequence("a2");
    let kept = bench.push_to_sequence("b1");
    let end = bench.dispatcher.detach(1).await.expect("attached");
    assert_eq!(end.lost.len(), 1);
    for job in end.lost {
        job.answer(Err(Error::worker_died(500)));
    }
    assert!(lost.await.expect("answered").is_err());
    worker
        .in_flight
        .take()
        .expect("in flight")
        .fail(&Error::worker_died(500));
    let mut second = bench.attach(2, 1);
    let batch = second.receive().expect("a batch");
    assert_eq!(second.bodies(&batch), ["b1"]);
    second.answer(&batch, &bench.dispatcher);
    assert_eq!(body(kept).await, "b1");
    let again = bench.push_to_sequence("a3");
    let batch = second.receive().expect("a batch");
    second.answer(&batch, &bench.dispatcher);
    assert_eq!(body(again).await, "a3");
}
