//! The extension in a real Python process, driven by the real server end.
//!
//! Uses the interpreter named by `PYO3_PYTHON` (else `python3`).

#[path = "worker_process/worker.rs"]
mod worker;

use std::time::{Duration, Instant};

use tserve_shm::{SubmitError, wire::InputRef};
use worker::{ECHO, Worker, arena_value, input};

fn reply_of(
    worker: &mut Worker,
    id: &str,
    headers: &[(&str, &str)],
    inputs: &[InputRef<'_>],
) -> String {
    let completion = worker.round_trip(&[(id, headers, inputs)]);
    assert_eq!(completion.reply.code, 200, "{}", completion.reply.message);
    String::from_utf8(completion.reply.items[0].body.to_vec()).unwrap()
}

/// `repr(data)` for one input `body`.
fn value_of(worker: &mut Worker, content_type: &str, bytes: &[u8]) -> String {
    let shown = reply_of(worker, "1", &[], &[input("body", content_type, bytes)]);
    let (data, _) = shown.split_once('\n').unwrap();
    data.strip_prefix("{'body': ")
        .unwrap()
        .strip_suffix('}')
        .unwrap()
        .to_owned()
}

#[test]
fn values_follow_the_content_type() {
    let mut worker = Worker::start(ECHO);
    for (content_type, bytes, expected) in [
        (
            "application/json",
            &b"{\"a\": [1, 2.5, null]}"[..],
            "{'a': [1, 2.5, None]}",
        ),
        ("application/json", b"null", "None"),
        ("application/json", b"[NaN]", "[nan]"),
        ("application/json", b"\"\\ud800\"", r"'\ud800'"),
        (
            "application/json",
            b"123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        (
            "application/json",
            b"[18446744073709551616, 1]",
            "[18446744073709551616, 1]",
        ),
        ("application/json", b"", "bytearray(b'')"),
        ("application/json", b"{oops", "bytearray(b'{oops')"),
        ("application/json", b"\"\xff\"", r#"bytearray(b'"\xff"')"#),
        ("Application/JSON", b"{}", "bytearray(b'{}')"),
        ("text/plain", "grüß".as_bytes(), "'grüß'"),
        ("text", b"", "''"),
        ("text/csv", b"\xff", r"bytearray(b'\xff')"),
        ("", b"{}", "bytearray(b'{}')"),
        ("image/png", b"\x00", r"bytearray(b'\x00')"),
    ] {
        assert_eq!(
            value_of(&mut worker, content_type, bytes),
            expected,
            "{content_type} {bytes:?}"
        );
    }
    let log = worker.finish();
    assert_eq!(log.matches("does not decode").count(), 4, "{log}");
}

#[test]
fn headers_override_the_entries_of_inputs() {
    let mut worker = Worker::start(ECHO);
    let inputs = [
        input("a", "text/x", b"1"),
        input("b", "", b"2"),
        input("a", "x/y", b"3"),
    ];
    let shown = reply_of(
        &mut worker,
        "id-9",
        &[("Z", "1"), ("b", "2"), ("Z", "3")],
        &inputs,
    );
    assert_eq!(
        shown,
        "{'a': bytearray(b'3'), 'b': bytearray(b'2')}\n\
         {'a': {'content-type': 'x/y'}, 'b': '2', 'Z': '3'}\nid-9"
    );
}

#[test]
fn decoding_can_be_off() {
    let mut worker = Worker::start_raw(ECHO);
    assert_eq!(
        value_of(&mut worker, "application/json", b"{}"),
        "bytearray(b'{}')"
    );
    assert_eq!(value_of(&mut worker, "text/plain", b"x"), "bytearray(b'x')");
}

#[test]
fn every_kind_of_payload_and_header_arrives() {
    let mut worker = Worker::start(
        "
while (batch := link.recv()) is not None:
    batch.reply(207, 'mixed', [
        (b'bytes', 200, None, {}),
        (bytearray(b'array'), 201, 'Made', [('a', '1'), ('a', '2')]),
        (memoryview(b'a_view')[2:], 202, '', {'k': 'v'}),
        ('t\\u00e4xt', 500, None, []),
    ])
",
    );
    let requests: [(&str, &[_], &[_]); 4] = [
        ("0", &[], &[]),
        ("1", &[], &[]),
        ("2", &[], &[]),
        ("3", &[], &[]),
    ];
    let reply = worker.round_trip(&requests).reply;
    assert_eq!(
        (reply.code, reply.message.as_str(), reply.is_last),
        (207, "mixed", true)
    );
    let bodies: Vec<&[u8]> = reply.items.iter().map(|item| &item.body[..]).collect();
    assert_eq!(
        bodies,
        [&b"bytes"[..], b"array", b"view", "täxt".as_bytes()]
    );
    let statuses: Vec<u32> = reply.items.iter().map(|item| item.status).collect();
    assert_eq!(statuses, [200, 201, 202, 500]);
    let phrases: Vec<Option<&str>> = reply
        .items
        .iter()
        .map(|item| item.phrase.as_deref())
        .collect();
    assert_eq!(phrases, [None, Some("Made"), Some(""), None]);
    assert_eq!(
        reply.items[1].headers,
        [("a".into(), "1".into()), ("a".into(), "2".into())]
    );
    assert_eq!(reply.items[2].headers, [("k".into(), "v".into())]);
}

#[test]
fn streamed_answers_come_in_order() {
    let mut worker = Worker::start(
        "
while (batch := link.recv()) is not None:
    for part in range(100):
        batch.reply(200, '', [(str(part), 200, None, {})], last=False)
    batch.reply(200, 'end', None)
",
    );
    worker.submit(&[("s", &[], &[])]);
    for part in 0..100 {
        let reply = worker.completion().reply;
        assert!(!reply.is_last);
        assert_eq!(reply.items[0].body, part.to_string());
    }
    let reply = worker.completion().reply;
    assert!(reply.is_last && reply.items.is_empty() && reply.message == "end");
}

#[test]
fn mistakes_of_the_caller_are_exceptions_and_leave_the_batch_open() {
    let mut worker = Worker::start(
        "
def tried(*arguments, **options):
    try:
        batch.reply(*arguments, **options)
        return 'sent'
    except BaseException as error:
        return type(error).__name__

while (batch := link.recv()) is not None:
    big = b'x' * (65 << 20)
    seen = [
        tried(200, '', [(1.5, 200, None, {})]),
        tried(200, '', [(b'', 200, None, {'a': 1})]),
        tried(200, '', [(b'', 200, 7, {})]),
        tried(200, '', [(b'', -1, None, {})]),
        tried(200, '', [(chr(0xd800), 200, None, {})]),
        tried(200, '', [(b'', 200, None, {})] * 2),
        tried(200, '', [(big, 200, None, {})]),
    ]
    seen.append(tried(200, ' '.join(seen), None))
    seen.append(tried(200, '', None))
    assert seen[-2:] == ['sent', 'RuntimeError'], seen
    print('second reply refused', flush=True)
",
    );
    let reply = worker.round_trip(&[("1", &[], &[])]).reply;
    assert_eq!(
        reply.message,
        "TypeError TypeError TypeError OverflowError UnicodeEncodeError ValueError ReplyTooLarge"
    );
    assert!(worker.finish().contains("second reply refused"));
}

#[test]
fn a_quarter_gigabyte_goes_there_and_back() {
    let mut worker = Worker::start_with(
        "
while (batch := link.recv()) is not None:
    batch.reply(200, '', [(bytes(batch.take_data()[0]['body']), 200, None, {})])
",
        (256 << 20) + (1 << 20),
        "decode",
    );
    let mut body = worker.arena.allocate(256 << 20).unwrap();
    for (index, chunk) in body.chunks_mut(4096).enumerate() {
        chunk.fill(index as u8);
    }
    let value = arena_value("body", &body);
    let reply = worker.round_trip(&[("big", &[], &[value])]).reply;
    assert!(
        reply.items[0].body[..] == body[..],
        "the body came back unchanged"
    );
}

#[test]
fn closing_the_link_ends_the_loop() {
    let mut worker = Worker::start(ECHO);
    reply_of(&mut worker, "1", &[], &[]);
    worker.submitter.close();
    assert_eq!(worker.submitter.submit(2, &[]), Err(SubmitError::Closed));
    assert!(worker.wait_for_exit(Duration::from_secs(10)).success());
}

#[test]
fn a_hanging_worker_exits_two_seconds_after_an_orderly_close() {
    let mut worker = Worker::start("link.recv()\nwhile True: pass\n");
    worker.submit(&[("1", &[], &[])]);
    worker.await_start();
    worker.submitter.close();
    let hung_up = Instant::now();
    worker.hang_up();
    let status = worker.wait_for_exit(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    assert!(
        hung_up.elapsed() >= Duration::from_millis(1900),
        "{:?}",
        hung_up.elapsed()
    );
}

#[test]
fn the_group_dies_with_the_server() {
    use std::os::unix::process::ExitStatusExt;

    let mut worker = Worker::start(
        "
import subprocess
child = subprocess.Popen(['sleep', '1000'])
print('child', child.pid, flush=True)
link.recv()
while True: pass
",
    );
    worker.submit(&[("1", &[], &[])]);
    worker.await_start();
    worker.hang_up();
    let status = worker.wait_for_exit(Duration::from_secs(10));
    assert_eq!(status.signal(), Some(9));
    let log = worker.finish();
    let child: i32 = log.split_whitespace().nth(1).unwrap().parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let is_running = || {
        std::fs::read_to_string(format!("/proc/{child}/stat"))
            .is_ok_and(|stat| stat.contains("(sleep)") && !stat.contains(") Z "))
    };
    while is_running() {
        assert!(Instant::now() < deadline, "the worker's child still runs");
        std::thread::yield_now();
    }
}

#[test]
fn signals_interrupt_a_wait() {
    let mut worker = Worker::start(
        // Whoever runs the tests in the background of a shell has SIGINT ignored, and passes that on.
        "
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print('waiting', flush=True)
    link.recv()
except KeyboardInterrupt:
    print('interrupted', flush=True)
",
    );
    worker.await_line("waiting");
    worker.signal(rustix::process::Signal::INT);
    assert!(worker.wait_for_exit(Duration::from_secs(10)).success());
    assert!(worker.finish().contains("interrupted"));
}

#[test]
fn a_worker_killed_while_it_replies_leaves_nothing_or_corruption() {
    let mut worker = Worker::start(
        "
batch = link.recv()
while True:
    batch.reply(200, '', [(b'x' * (8 << 20), 200, None, {})], last=False)
",
    );
    worker.submit(&[("1", &[], &[])]);
    for _ in 0..5 {
        assert_eq!(worker.completion().reply.items[0].body.len(), 8 << 20);
    }
    worker.signal(rustix::process::Signal::KILL);
    worker.wait_for_exit(Duration::from_secs(10));
    // Whatever was published whole is still there; then there is nothing more.
    while let Some(completion) = worker.completions.poll().unwrap() {
        assert_eq!(completion.reply.items[0].body.len(), 8 << 20);
    }
}
