//! The link between real processes: the test binary starts itself again as the worker.
#![cfg(not(any(loom, miri)))]

#[path = "processes/peer.rs"]
mod peer;

use std::time::Duration;

use peer::{Peer, item};
use tserve_shm::{ReceiveError, SubmitError, WorkerLink, wire::ValueRef};

/// What the other process does, chosen by name.
fn play(role: &str, link: &WorkerLink, raw: &std::fs::File) {
    match role {
        "echo" => echo(link),
        "reverse" => reverse(link),
        "flood" => flood(link),
        "scribble" => scribble(link, raw),
        other => panic!("no such role: {other}"),
    }
}

/// Answers every batch with its request ids.
fn echo(link: &WorkerLink) {
    loop {
        let batch = match link.receive(Some(Duration::from_secs(60))) {
            Ok(batch) => batch,
            Err(ReceiveError::Closed) => return,
            Err(error) => panic!("{error}"),
        };
        let ids: Vec<_> = batch
            .jobs
            .iter()
            .map(|job| link.request(job).unwrap().id().to_owned())
            .collect();
        let items: Vec<_> = (0..)
            .zip(&ids)
            .map(|(index, id)| item(index, id.as_bytes()))
            .collect();
        link.reply(batch.batch_id, 200, "", true, &items).unwrap();
    }
}

/// Answers one request with its first input, backwards.
fn reverse(link: &WorkerLink) {
    let batch = link.receive(None).unwrap();
    let request = link.request(&batch.jobs[0]).unwrap();
    let value = link.value(&request.inputs()[0].value).unwrap();
    let backwards: Vec<u8> = value.iter().rev().copied().collect();
    link.reply(batch.batch_id, 200, "", true, &[item(0, &backwards)])
        .unwrap();
}

/// Sends partial replies until it is killed.
fn flood(link: &WorkerLink) {
    let batch = link.receive(None).unwrap();
    let body = vec![b'x'; 3 << 20];
    while link
        .reply(batch.batch_id, 200, "", false, &[item(0, &body)])
        .is_ok()
    {}
}

/// Overwrites its whole link again and again, in ever other places, between honest replies.
fn scribble(link: &WorkerLink, raw: &std::fs::File) {
    use std::os::unix::fs::FileExt;

    let batch = link.receive(None).unwrap();
    let mut state = u64::from(std::process::id()) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let size = raw.metadata().unwrap().len();
    for _ in 0..200 {
        let _ = link.reply_within(Some(Duration::ZERO), batch.batch_id, 200, "", false, &[]);
        for _ in 0..50 {
            let offset = random() % (8 << 10);
            raw.write_all_at(&(random() >> (random() % 64)).to_le_bytes(), offset)
                .unwrap();
        }
    }
    let noise: Vec<u8> = (0..size).map(|_| random() as u8).collect();
    raw.write_all_at(&noise, 0).unwrap();
}

#[test]
fn play_role() {
    if let Some((role, link, raw)) = peer::inherited() {
        play(&role, &link, &raw);
    }
}

#[test]
fn every_batch_is_answered_across_processes() {
    round_trips(100_000);
}

#[test]
#[ignore = "takes about a minute; run with --ignored"]
fn a_million_round_trips_lose_no_wake_up() {
    round_trips(1_000_000);
}

fn round_trips(rounds: u64) {
    let mut peer = Peer::start("echo", 1 << 20);
    let (_block, job) = peer.record("the id", &[]);
    // Two in flight most of the time, so that both sides sleep and wake in all orders.
    let (mut submitted, mut answered) = (0, 0);
    while answered < rounds {
        while submitted < rounds
            && submitted - answered < 2
            && !(submitted % 7 == 3 && submitted > answered)
        {
            peer.submitter.submit(submitted, &[job]).unwrap();
            submitted += 1;
        }
        let completion = peer.completion();
        assert_eq!(completion.batch_id, answered);
        assert_eq!(completion.reply.items[0].body, "the id");
        answered += 1;
    }
    assert_eq!(peer.submitter.started(), rounds);
    peer.submitter.close();
    assert_eq!(peer.submitter.submit(0, &[job]), Err(SubmitError::Closed));
    assert!(peer.wait().success());
}

#[test]
fn a_quarter_gigabyte_crosses_both_ways() {
    let mut peer = Peer::start("reverse", (256 << 20) + 4096);
    let mut body = peer.arena.allocate(256 << 20).unwrap();
    for (index, chunk) in body.chunks_mut(1 << 12).enumerate() {
        chunk.fill(index as u8);
        chunk[1] = (index >> 8) as u8;
    }
    let value = ValueRef::Arena {
        offset: body.offset(),
        len: body.len() as u64,
    };
    let (_block, job) = peer.record("1", &[peer::input(value)]);
    peer.submitter.submit(1, &[job]).unwrap();
    let reply = peer.completion().reply;
    let answer = &reply.items[0].body;
    assert_eq!(answer.len(), body.len());
    assert!(answer.iter().rev().eq(body.iter()));
    assert!(peer.wait().success());

    // Both sides gave their pages back, except for what they keep warm.
    drop(body);
    let resident = peer.resident_bytes();
    assert!(resident < 110 << 20, "{resident} bytes are still held");
}

#[test]
fn a_worker_killed_in_the_middle_of_a_reply_does_no_harm() {
    for round in 0..10 {
        let mut peer = Peer::start("flood", 16 << 20);
        peer.submitter.submit(1, &[]).unwrap();
        for _ in 0..=round {
            assert_eq!(peer.completion().reply.items[0].body.len(), 3 << 20);
        }
        peer.kill();
        // What was published whole is still there; a frame half written was never published.
        while let Some(completion) = peer.completions.poll().unwrap() {
            assert_eq!(completion.reply.items[0].body.len(), 3 << 20);
        }
        assert_eq!(peer.completions.poll(), Ok(None));
    }
}

#[test]
fn garbage_all_over_the_link_is_an_error_at_worst() {
    for _ in 0..20 {
        let mut peer = Peer::start("scribble", 1 << 20);
        peer.submitter.submit(1, &[]).unwrap();
        loop {
            let outcome = peer.completions.poll();
            assert!(peer.submitter.started() <= 1);
            peer.completions.prepare_to_wait();
            peer.completions.clear_wake();
            if outcome.is_err() {
                assert_eq!(peer.completions.poll(), outcome, "damage is final");
                break;
            }
            if outcome == Ok(None) && peer.has_ended() {
                break;
            }
        }
        peer.kill();
        // The server's half goes on being safe to use.
        let _ = peer.submitter.submit(2, &[]);
        peer.submitter.close();
    }
}
