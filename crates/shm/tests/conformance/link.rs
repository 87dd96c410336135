//! What every link promises.

use std::time::{Duration, Instant};

use tserve_shm::{
    JobRef, LinkConfig, ReceiveError, ReplyError, ReplyItemRef, SubmitError,
    wire::{InputRef, ValueRef},
};

use crate::kinds::{Ends, Kind, over_every_kind, record};

over_every_kind!(
    a_batch_goes_there_and_its_answers_come_back,
    values_in_the_arena_are_read_in_place,
    a_value_outside_the_arena_is_malformed,
    depth_limits_unanswered_batches,
    partial_replies_leave_the_batch_unanswered,
    a_batch_larger_than_agreed_is_refused,
    started_counts_what_the_worker_has_taken,
    closing_ends_a_waiting_receive,
    a_closed_link_still_takes_the_last_reply,
    dropping_the_completions_ends_a_waiting_reply,
    a_receive_without_a_batch_times_out,
    a_reply_beyond_the_area_is_too_large,
    a_full_area_makes_the_worker_wait,
    more_frames_than_may_wait_make_the_worker_wait,
    parts_do_not_run_far_ahead_of_the_server,
    parts_of_an_abandoned_batch_are_refused,
    every_reply_arrives_once_and_in_order,
    no_wake_up_is_lost_in_ping_pong,
);

const CONFIG: LinkConfig = LinkConfig {
    depth: 2,
    max_batch: 4,
    reply_bytes: 64 << 10,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn item(index: u32, body: &[u8]) -> ReplyItemRef<'_> {
    ReplyItemRef {
        index,
        status: 200,
        phrase: None,
        headers: &[],
        body,
    }
}

fn a_batch_goes_there_and_its_answers_come_back<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    let (_first, first) = record(&ends.arena, "first", &[]);
    let (_second, second) = record(&ends.arena, "second", &[]);
    ends.submitter.submit(u64::MAX, &[first, second]).unwrap();
    let batch = ends.worker.receive(Some(PATIENCE)).unwrap();
    assert_eq!(
        (batch.batch_id, &batch.jobs[..]),
        (u64::MAX, &[first, second][..])
    );
    let ids: Vec<&str> = batch
        .jobs
        .iter()
        .map(|job| ends.worker.request(job).unwrap().id())
        .collect();
    assert_eq!(ids, ["first", "second"]);

    let answer = ReplyItemRef {
        index: 1,
        status: 418,
        phrase: Some("Tea"),
        headers: &[("a", "1"), ("a", "")],
        body: b"pot",
    };
    ends.worker
        .reply(batch.batch_id, 503, "mostly", true, &[item(0, b""), answer])
        .unwrap();
    let completion = ends.completions.poll().unwrap().unwrap();
    assert_eq!(completion.batch_id, u64::MAX);
    let reply = completion.reply;
    assert_eq!(
        (reply.code, &reply.message[..], reply.is_last),
        (503, "mostly", true)
    );
    assert_eq!(reply.items[0].phrase, None);
    let second = &reply.items[1];
    assert_eq!(
        (second.index, second.status, second.phrase.as_deref()),
        (1, 418, Some("Tea"))
    );
    assert_eq!(
        second.headers,
        [("a".into(), "1".into()), ("a".into(), String::new())]
    );
    assert_eq!(second.body, "pot");
    assert_eq!(ends.completions.poll(), Ok(None));
}

fn values_in_the_arena_are_read_in_place<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    let mut body = ends.arena.allocate(10_000).unwrap();
    body.fill(3);
    body[5000..5004].copy_from_slice(b"part");
    let part = InputRef {
        name: "x",
        content_type: "image/png",
        value: ValueRef::Arena {
            offset: body.offset() + 5000,
            len: 4,
        },
    };
    let (_block, job) = record(&ends.arena, "", &[part]);
    ends.submitter.submit(1, &[job]).unwrap();
    let batch = ends.worker.receive(Some(PATIENCE)).unwrap();
    let request = ends.worker.request(&batch.jobs[0]).unwrap();
    assert_eq!(request.inputs(), [part]);
    assert_eq!(
        ends.worker.value(&request.inputs()[0].value),
        Ok(&b"part"[..])
    );
}

fn a_value_outside_the_arena_is_malformed<K: Kind>() {
    let ends = K::make(&CONFIG);
    for (offset, len) in [(u64::MAX, 1), (1, u64::MAX), (1 << 50, 0), (0, 1 << 50)] {
        assert!(ends.worker.arena_slice(offset, len).is_err());
        let value = ValueRef::Arena { offset, len };
        assert!(ends.worker.value(&value).is_err());
    }
    let nowhere = JobRef {
        offset: u64::MAX - 1,
        len: 9,
    };
    assert!(ends.worker.request(&nowhere).is_err());
}

fn depth_limits_unanswered_batches<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    ends.submitter.submit(1, &[]).unwrap();
    ends.submitter.submit(2, &[]).unwrap();
    assert_eq!(ends.submitter.submit(3, &[]), Err(SubmitError::Full));
    let batch = ends.worker.receive(Some(PATIENCE)).unwrap();
    assert_eq!(ends.submitter.submit(3, &[]), Err(SubmitError::Full));
    ends.worker
        .reply(batch.batch_id, 200, "", true, &[])
        .unwrap();
    assert_eq!(ends.submitter.submit(3, &[]), Err(SubmitError::Full));
    ends.completions.poll().unwrap().unwrap();
    ends.submitter.submit(3, &[]).unwrap();
}

fn partial_replies_leave_the_batch_unanswered<K: Kind>() {
    let mut ends = K::make(&LinkConfig { depth: 1, ..CONFIG });
    ends.submitter.submit(1, &[]).unwrap();
    ends.worker.receive(Some(PATIENCE)).unwrap();
    ends.worker
        .reply(1, 200, "", false, &[item(0, b"a")])
        .unwrap();
    assert!(!ends.completions.poll().unwrap().unwrap().reply.is_last);
    assert_eq!(ends.submitter.submit(2, &[]), Err(SubmitError::Full));
    ends.worker
        .reply(1, 200, "", true, &[item(0, b"b")])
        .unwrap();
    assert!(ends.completions.poll().unwrap().unwrap().reply.is_last);
    ends.submitter.submit(2, &[]).unwrap();
}

fn a_batch_larger_than_agreed_is_refused<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    let job = JobRef { offset: 0, len: 0 };
    assert_eq!(
        ends.submitter.submit(1, &[job; 5]),
        Err(SubmitError::TooManyJobs)
    );
    ends.submitter.submit(1, &[job; 4]).unwrap();
    assert_eq!(ends.worker.receive(Some(PATIENCE)).unwrap().jobs.len(), 4);
}

fn started_counts_what_the_worker_has_taken<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    ends.submitter.submit(1, &[]).unwrap();
    ends.submitter.submit(2, &[]).unwrap();
    assert_eq!(
        (ends.submitter.submitted(), ends.submitter.started()),
        (2, 0)
    );
    ends.worker.receive(Some(PATIENCE)).unwrap();
    assert_eq!(ends.submitter.started(), 1);
    ends.worker.receive(Some(PATIENCE)).unwrap();
    assert_eq!(ends.submitter.started(), 2);
}

fn closing_ends_a_waiting_receive<K: Kind>() {
    let ends = K::make(&CONFIG);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ends.worker.receive(Some(PATIENCE)));
        ends.submitter.close();
        assert_eq!(waiting.join().unwrap(), Err(ReceiveError::Closed));
    });
    assert!(ends.worker.is_closed());
    let Ends {
        submitter, worker, ..
    } = K::make(&CONFIG);
    drop(submitter);
    assert_eq!(worker.receive(None), Err(ReceiveError::Closed));
}

fn a_closed_link_still_takes_the_last_reply<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    ends.submitter.submit(1, &[]).unwrap();
    ends.submitter.submit(2, &[]).unwrap();
    ends.worker.receive(Some(PATIENCE)).unwrap();
    ends.submitter.close();
    assert_eq!(ends.submitter.submit(3, &[]), Err(SubmitError::Closed));
    assert_eq!(
        ends.worker.receive(Some(PATIENCE)),
        Err(ReceiveError::Closed)
    );
    assert_eq!(ends.submitter.started(), 1);
    ends.worker.reply(1, 200, "", true, &[]).unwrap();
    assert_eq!(ends.completions.poll().unwrap().unwrap().batch_id, 1);
}

fn dropping_the_completions_ends_a_waiting_reply<K: Kind>() {
    let Ends {
        mut submitter,
        completions,
        worker,
        ..
    } = K::make(&CONFIG);
    submitter.submit(1, &[]).unwrap();
    let half = vec![0; 40 << 10];
    worker.reply(1, 200, "", false, &[item(0, &half)]).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| worker.reply(1, 200, "", true, &[item(0, &half)]));
        drop(completions);
        assert_eq!(waiting.join().unwrap(), Err(ReplyError::Closed));
    });
    assert_eq!(worker.reply(1, 200, "", true, &[]), Err(ReplyError::Closed));
}

fn a_receive_without_a_batch_times_out<K: Kind>() {
    let ends = K::make(&CONFIG);
    assert_eq!(
        ends.worker.receive(Some(Duration::ZERO)),
        Err(ReceiveError::TimedOut)
    );
    let start = Instant::now();
    let pause = Duration::from_millis(20);
    assert_eq!(
        ends.worker.receive(Some(pause)),
        Err(ReceiveError::TimedOut)
    );
    assert!(start.elapsed() >= pause);
    assert!(!ends.completions.wait(Some(pause)));
}

fn a_reply_beyond_the_area_is_too_large<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    ends.submitter.submit(1, &[]).unwrap();
    let overhead = 88;
    let body = vec![0; 64 << 10];
    let error = ends.worker.reply(1, 200, "", true, &[item(0, &body)]);
    let expected = ReplyError::TooLarge {
        frame_bytes: overhead + (64 << 10),
        limit_bytes: 64 << 10,
    };
    assert_eq!(error, Err(expected));
    let fitting = &body[overhead as usize..];
    ends.worker
        .reply(1, 200, "", true, &[item(0, fitting)])
        .unwrap();
    let reply = ends.completions.poll().unwrap().unwrap().reply;
    assert_eq!(reply.items[0].body, fitting);
}

fn a_full_area_makes_the_worker_wait<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    ends.submitter.submit(1, &[]).unwrap();
    let half = vec![1; 40 << 10];
    let send = || {
        let answers = [item(0, &half)];
        ends.worker
            .reply_within(Some(Duration::ZERO), 1, 200, "", false, &answers)
    };
    send().unwrap();
    assert_eq!(send(), Err(ReplyError::TimedOut));
    ends.completions.poll().unwrap().unwrap();
    send().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ends.worker.reply(1, 200, "", true, &[item(0, &half)]));
        ends.completions.poll().unwrap().unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert!(ends.completions.poll().unwrap().unwrap().reply.is_last);
}

fn more_frames_than_may_wait_make_the_worker_wait<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    ends.submitter.submit(1, &[]).unwrap();
    let send = |is_last| {
        ends.worker
            .reply_within(Some(Duration::ZERO), 1, 200, "", is_last, &[])
    };
    let frames = (0..10_000).take_while(|_| send(false).is_ok()).count();
    assert_eq!(frames, 16);
    // The last reply of a batch need not wait for the parts before it.
    send(true).unwrap();
    for _ in 0..=frames {
        ends.completions.poll().unwrap().unwrap();
    }
    assert_eq!(ends.completions.poll(), Ok(None));
    send(false).unwrap();
}

fn parts_do_not_run_far_ahead_of_the_server<K: Kind>() {
    let config = LinkConfig {
        reply_bytes: 8 << 20,
        ..CONFIG
    };
    let mut ends = K::make(&config);
    ends.submitter.submit(1, &[]).unwrap();
    let send = |len: usize, is_last| {
        let body = vec![0; len];
        let answers = [item(0, &body)];
        ends.worker
            .reply_within(Some(Duration::ZERO), 1, 200, "", is_last, &answers)
    };
    send(3 << 20, false).unwrap();
    assert_eq!(send(1, false), Err(ReplyError::TimedOut));
    ends.completions.poll().unwrap().unwrap();
    let parts = (0..100)
        .take_while(|_| send(200 << 10, false).is_ok())
        .count();
    assert_eq!(parts, 5);
    send(3 << 20, true).unwrap();
}

fn parts_of_an_abandoned_batch_are_refused<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    for batch in [1, 2] {
        ends.submitter.submit(batch, &[]).unwrap();
    }
    let send = |batch, is_last| ends.worker.reply(batch, 200, "", is_last, &[]);
    send(1, false).unwrap();
    ends.completions.abandon(1);
    assert_eq!(send(1, false), Err(ReplyError::Abandoned));
    send(1, true).unwrap();
    send(2, false).unwrap();
    send(2, true).unwrap();
    let got = std::iter::from_fn(|| ends.completions.poll().unwrap());
    let got: Vec<_> = got.map(|it| (it.batch_id, it.reply.is_last)).collect();
    assert_eq!(got, [(1, false), (1, true), (2, false), (2, true)]);
}

fn every_reply_arrives_once_and_in_order<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    let frames = if cfg!(miri) { 20_u32 } else { 5000 };
    ends.submitter.submit(1, &[]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..frames {
                let len = (number as usize * 37) % 30_000;
                let body = vec![number as u8; len];
                ends.worker
                    .reply(1, number, "", number + 1 == frames, &[item(0, &body)])
                    .unwrap();
            }
        });
        for number in 0..frames {
            let reply = loop {
                match ends.completions.poll().unwrap() {
                    Some(completion) => break completion.reply,
                    None => assert!(ends.completions.wait(Some(PATIENCE)), "a wake-up was lost"),
                }
            };
            assert_eq!(reply.code, number);
            let body = &reply.items[0].body;
            assert_eq!(body.len(), (number as usize * 37) % 30_000);
            let expected = vec![number as u8; body.len()];
            assert_eq!(body[..], expected[..]);
        }
    });
    assert_eq!(ends.completions.poll(), Ok(None));
}

fn no_wake_up_is_lost_in_ping_pong<K: Kind>() {
    let mut ends = K::make(&CONFIG);
    let rounds = if cfg!(miri) { 20_u64 } else { 50_000 };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                let batch = ends
                    .worker
                    .receive(Some(PATIENCE))
                    .expect("a wake-up was lost");
                ends.worker
                    .reply(batch.batch_id, 200, "", true, &[])
                    .unwrap();
            }
        });
        for round in 0..rounds {
            ends.submitter.submit(round, &[]).unwrap();
            let completion = loop {
                match ends.completions.poll().unwrap() {
                    Some(completion) => break completion,
                    None => assert!(ends.completions.wait(Some(PATIENCE)), "a wake-up was lost"),
                }
            };
            assert_eq!(completion.batch_id, round);
        }
    });
}
