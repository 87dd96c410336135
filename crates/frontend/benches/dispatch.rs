//! The dispatcher without sockets and processes: a worker's reply split into answers, and a request's
//! whole way through queue, link and back.
//!
//! `cargo bench -p tserve-frontend --bench dispatch`

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tserve_batcher::Policy;
use tserve_frontend::dispatch::{
    Batch, BegunReceiver, Dispatcher, EncodedRequest, InFlight, Job, Kind, LINK_DEPTH, ReplyLimits,
    ReplySlot,
};
use tserve_shm::wire::{InputRef, RequestWriter, ValueRef};
use tserve_shm::{
    Arena, ArenaLimits, LinkConfig, Reply, ReplyItem, ReplyItemRef, ReplyTimes, local,
};

const LIMITS: ReplyLimits = ReplyLimits {
    max_response_size: 1 << 20,
    error_detail: false,
};

fn arena() -> Arena {
    let limits = ArenaLimits {
        capacity_bytes: 1 << 20,
    };
    local::arena(&limits).expect("heap")
}

fn job(arena: &Arena) -> (Job, BegunReceiver) {
    let input = InputRef {
        name: "body",
        content_type: "application/octet-stream",
        value: ValueRef::Inline(&[7; 100]),
    };
    let record = RequestWriter {
        id: "123e4567-e89b-12d3-a456-426614174000",
        headers: &[("Host", "127.0.0.1:8080"), ("Content-Length", "100")],
        inputs: &[input],
    };
    let mut meta = arena.allocate(record.encoded_len()).expect("room");
    record.write(&mut meta);
    let (reply, answer) = ReplySlot::new(None);
    let job = Job {
        request: EncodedRequest::new(meta, None),
        arrived: Instant::now(),
        reply,
        client: None,
        sequence: None,
    };
    (job, answer)
}

/// What a worker has answered to a batch of this size.
fn reply(size: u32) -> Reply {
    let item = |index| ReplyItem {
        index,
        status: 200,
        phrase: None,
        headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
        body: Bytes::from_static(b"ok"),
    };
    Reply {
        code: 200,
        message: String::new(),
        is_last: true,
        times: ReplyTimes::default(),
        items: (0..size).map(item).collect(),
    }
}

fn split(criterion: &mut Criterion) {
    let arena = arena();
    let mut group = criterion.benchmark_group("split a reply");
    for size in [1, 32] {
        group.throughput(Throughput::Elements(u64::from(size)));
        group.bench_function(format!("batch of {size}"), |bencher| {
            bencher.iter_batched(
                || {
                    let (jobs, answers): (Vec<_>, Vec<_>) = (0..size).map(|_| job(&arena)).unzip();
                    (Batch::new(1, jobs), reply(size), answers)
                },
                |(batch, reply, answers)| {
                    batch.answer(reply, LIMITS);
                    answers
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn round_trip(criterion: &mut Criterion) {
    let arena = arena();
    let policy = Policy {
        batch_size: NonZeroUsize::MIN,
        max_batch_delay: Duration::ZERO,
    };
    let dispatcher = Dispatcher::start(Kind::Batches, policy, 100, None);
    let config = LinkConfig {
        depth: LINK_DEPTH,
        max_batch: 1,
        reply_bytes: 1 << 16,
    };
    let (submitter, mut completions, worker) = local::create_link(&config, &arena).expect("heap");
    let in_flight = InFlight::new(dispatcher.kind());
    dispatcher.attach(1, submitter, Arc::clone(&in_flight));
    let item = ReplyItemRef {
        index: 0,
        status: 200,
        phrase: None,
        headers: &[("content-type", "text/plain")],
        body: b"ok",
    };
    criterion.bench_function("one request through queue, link and back", |bencher| {
        bencher.iter(|| {
            let (job, mut answer) = job(&arena);
            assert!(dispatcher.push(job).is_ok(), "the queue has room");
            let batch = worker.receive(None).expect("the worker is idle");
            worker
                .reply(batch.batch_id, 200, "", true, &[item])
                .expect("the area has room");
            let completion = completions.poll().expect("sound").expect("a reply");
            let batch = in_flight.take().expect("it is in flight");
            batch.answer(completion.reply, LIMITS);
            in_flight.finish();
            dispatcher.pump();
            answer.try_recv().expect("it is answered")
        });
    });
}

criterion_group!(benches, split, round_trip);
criterion_main!(benches);
