//! The two ends of a stream, and batches whose requests are answered in parts.

use tserve_shm::local;
use tserve_shm::{ArenaLimits, Reply, ReplyItem};

use super::super::{Batch, EncodedRequest, Job, ReplyLimits, ReplySlot};
use super::*;

const LIMITS: ReplyLimits = ReplyLimits {
    max_response_size: 1 << 20,
    error_detail: false,
};
const FRAME: usize = 64 * 1024;

fn head() -> InferenceReply {
    InferenceReply {
        status: 201,
        phrase: Some("Begun".to_owned()),
        headers: vec![("a".to_owned(), "b".to_owned())],
        body: Bytes::new(),
        stages: None,
    }
}

fn frame(is_last: bool, bodies: &[(u32, &str)]) -> Reply {
    let item = |&(index, body): &(u32, &str)| ReplyItem {
        index,
        status: 200,
        phrase: None,
        headers: Vec::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    Reply {
        code: 200,
        message: String::new(),
        is_last,
        times: tserve_shm::ReplyTimes::default(),
        items: bodies.iter().map(item).collect(),
    }
}

/// A batch of `size` requests and where their answers arrive.
fn batch(size: usize) -> (Batch, Vec<super::super::BegunReceiver>) {
    let arena = local::arena(&ArenaLimits {
        capacity_bytes: 1 << 20,
    })
    .expect("heap");
    let (jobs, answers) = (0..size)
        .map(|_| {
            let (reply, answer) = ReplySlot::new(None);
            let meta = arena.allocate(64).expect("room");
            let job = Job {
                request: EncodedRequest::new(meta, None),
                arrived: Instant::now(),
                reply,
                client: None,
                sequence: None,
            };
            (job, answer)
        })
        .unzip();
    (Batch::new(7, jobs), answers)
}

fn begun(answer: &mut super::super::BegunReceiver) -> ReplyStream {
    match answer.try_recv() {
        Ok(Ok(Begun::Stream(stream))) => *stream,
        other => panic!("no stream: {other:?}"),
    }
}

async fn texts(stream: &mut ReplyStream) -> (Vec<String>, Option<Error>) {
    let mut all = Vec::new();
    while let Some(part) = stream.next().await {
        match part {
            Ok(part) => all.push(String::from_utf8(part.to_vec()).expect("text")),
            Err(error) => {
                assert!(stream.next().await.is_none(), "an error is the end");
                return (all, Some(error));
            }
        }
    }
    assert!(stream.next().await.is_none(), "the end stays the end");
    (all, None)
}

#[tokio::test]
async fn parts_arrive_in_order_under_the_head_of_the_first() {
    let (sender, mut stream) = open(head(), 100);
    assert_eq!((stream.status, stream.headers.len()), (201, 1));
    for part in ["a", "", "b"] {
        sender.send(Bytes::from_static(part.as_bytes()));
    }
    sender.end(Ok(()));
    let (parts, error) = texts(&mut stream).await;
    assert_eq!(parts, ["a", "", "b"]);
    assert_eq!(error, None);
}

#[tokio::test]
async fn a_sender_that_is_dropped_ends_its_stream() {
    let (sender, mut stream) = open(head(), 100);
    sender.send(Bytes::from_static(b"a"));
    drop(sender);
    let (parts, error) = texts(&mut stream).await;
    assert_eq!(parts, ["a"]);
    assert!(matches!(error, Some(Error::Internal(_))));
}

#[tokio::test]
async fn room_is_what_the_client_has_taken() {
    let (sender, mut stream) = open(head(), 1 << 20);
    let mut sent = 0;
    while sender.lacks_room().is_none() {
        sender.send(Bytes::from(vec![0; FRAME]));
        sent += 1;
    }
    assert!((2..=WINDOW / FRAME + 1).contains(&sent), "{sent}");
    let room = sender.lacks_room().expect("full");
    let waiting = tokio::spawn(async move { room.free().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    stream.next().await.expect("a part").expect("sound");
    waiting.await.expect("woken");
    assert!(sender.lacks_room().is_none());
    sender.end(Ok(()));
    let (parts, error) = texts(&mut stream).await;
    assert_eq!((parts.len(), error), (sent - 1, None));
}

#[tokio::test]
async fn a_client_is_idle_only_while_there_is_something_to_take() {
    let (parts, _stream) = open(head(), u64::MAX);
    let pause = Duration::from_millis(300);
    tokio::time::sleep(pause).await;
    let filling = Instant::now();
    parts.send(Bytes::from(vec![0; WINDOW]));
    let room = parts.lacks_room().expect("the window is full");
    let idle = room.idle_for();
    assert!(idle <= filling.elapsed(), "{idle:?}");
}

#[tokio::test]
async fn a_part_beyond_the_window_passes_alone() {
    let (sender, mut stream) = open(head(), 1 << 20);
    sender.send(Bytes::from(vec![0; 3 * WINDOW]));
    assert!(sender.lacks_room().is_some());
    stream.next().await.expect("a part").expect("sound");
    assert!(sender.lacks_room().is_none());
    sender.end(Ok(()));
}

#[tokio::test]
async fn a_client_that_leaves_wakes_who_waits_for_it() {
    let (sender, stream) = open(head(), 1 << 20);
    sender.send(Bytes::from(vec![0; 3 * WINDOW]));
    let room = sender.lacks_room().expect("full");
    let waiting = tokio::spawn(async move { room.free().await });
    drop(stream);
    waiting.await.expect("woken");
    assert!(sender.is_closed() && sender.lacks_room().is_none());
    sender.send(Bytes::from_static(b"nobody misses this"));
    sender.end(Ok(()));
}

#[tokio::test]
async fn parts_are_joined_up_to_the_limit() {
    for (limit, is_fine) in [(4, true), (3, false)] {
        let (sender, stream) = open(head(), limit);
        sender.send(Bytes::from_static(b"ab"));
        sender.send(Bytes::from_static(b"cd"));
        sender.end(Ok(()));
        let joined = stream.join().await;
        assert_eq!(joined.is_ok(), is_fine, "{joined:?}");
        if let Ok(reply) = joined {
            assert_eq!((reply.status, &reply.body[..]), (201, &b"abcd"[..]));
        }
    }
}

#[tokio::test]
async fn a_deadline_goes_on_for_later_parts() {
    let (sender, mut stream) = open(head(), 100);
    let at = Instant::now() + Duration::from_millis(200);
    stream.expire(at, Error::ClientTimeout("late".to_owned()));
    sender.send(Bytes::from_static(b"a"));
    let (parts, error) = texts(&mut stream).await;
    assert_eq!(parts, ["a"]);
    assert_eq!(error, Some(Error::ClientTimeout("late".to_owned())));
    assert!(sender.is_closed());
    sender.end(Ok(()));
}

#[tokio::test]
async fn requests_of_one_batch_stream_apart_from_each_other() {
    let (mut batch, mut answers) = batch(3);
    batch.pass_on(frame(false, &[(0, "a0"), (1, "b0")]), LIMITS);
    batch.pass_on(frame(false, &[(1, "b1"), (0, "a1"), (9, "?")]), LIMITS);
    let (mut a, mut b) = (begun(&mut answers[0]), begun(&mut answers[1]));
    assert!(answers[2].try_recv().is_err(), "it has no part yet");
    batch.answer(frame(true, &[(0, "a2"), (1, ""), (2, "c")]), LIMITS);
    assert_eq!(texts(&mut a).await.0, ["a0", "a1", "a2"]);
    assert_eq!(texts(&mut b).await.0, ["b0", "b1", ""]);
    match answers[2].try_recv() {
        Ok(Ok(Begun::Whole(reply))) => assert_eq!(&reply.body[..], b"c"),
        other => panic!("not whole: {other:?}"),
    }
}

#[tokio::test]
async fn an_error_ends_streams_and_answers_those_who_have_none() {
    let (mut batch, mut answers) = batch(2);
    batch.pass_on(frame(false, &[(0, "a")]), LIMITS);
    let mut stream = begun(&mut answers[0]);
    batch.fail(&Error::worker_died(507));
    let (parts, error) = texts(&mut stream).await;
    assert_eq!(parts, ["a"]);
    assert_eq!(error, Some(Error::worker_died(507)));
    assert!(matches!(
        answers[1].try_recv(),
        Ok(Err(Error::Worker { .. }))
    ));
}

#[tokio::test]
async fn a_part_that_is_too_large_ends_its_own_stream_only() {
    let (mut batch, mut answers) = batch(2);
    let limits = ReplyLimits {
        max_response_size: 3,
        error_detail: false,
    };
    batch.pass_on(frame(false, &[(0, "abc"), (1, "abc")]), limits);
    batch.pass_on(frame(false, &[(0, "abcd"), (1, "abc")]), limits);
    batch.pass_on(frame(false, &[(0, "abc"), (1, "abc")]), limits);
    let (mut a, mut b) = (begun(&mut answers[0]), begun(&mut answers[1]));
    batch.answer(frame(true, &[(0, "z"), (1, "z")]), limits);
    let (parts, error) = texts(&mut a).await;
    assert_eq!(parts, ["abc"]);
    assert!(matches!(error, Some(Error::Worker { status: 500, .. })));
    assert_eq!(texts(&mut b).await.0, ["abc", "abc", "abc", "z"]);
}

#[tokio::test]
async fn an_intermediate_failure_is_the_end_for_everybody() {
    let (mut batch, mut answers) = batch(2);
    batch.pass_on(frame(false, &[(0, "a")]), LIMITS);
    let mut stream = begun(&mut answers[0]);
    let failed = Reply {
        code: 503,
        message: "broken".to_owned(),
        ..frame(false, &[])
    };
    batch.pass_on(failed, LIMITS);
    assert!(!batch.is_awaited());
    batch.answer(frame(true, &[(0, "late"), (1, "late")]), LIMITS);
    let (parts, error) = texts(&mut stream).await;
    assert_eq!(parts, ["a"]);
    assert!(matches!(error, Some(Error::Worker { status: 503, .. })));
    assert!(matches!(answers[1].try_recv(), Ok(Err(_))));
}

#[tokio::test]
async fn a_slow_client_holds_its_batch_up_until_it_is_given_up() {
    let (mut batch, mut answers) = batch(2);
    let big = "x".repeat(WINDOW);
    batch.pass_on(frame(false, &[(0, &big), (1, &big)]), LIMITS);
    let (slow, mut quick) = (begun(&mut answers[0]), begun(&mut answers[1]));
    quick.next().await.expect("a part").expect("sound");
    assert!(batch.lacks_room().is_some(), "the slow one is full");
    batch.end_stalled(Duration::from_secs(60));
    assert!(batch.lacks_room().is_some(), "not yet");
    batch.end_stalled(Duration::ZERO);
    assert!(batch.lacks_room().is_none());
    assert!(batch.is_awaited(), "the quick one goes on");
    drop(quick);
    assert!(!batch.is_awaited());
    drop(slow);
    batch.fail(&Error::worker_died(500));
}
