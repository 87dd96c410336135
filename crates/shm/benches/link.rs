//! The way of a batch to the worker and back: on one thread without any wake-up, and between two
//! threads that sleep whenever they have nothing to do.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tserve_shm::{
    Arena, ArenaLimits, Block, Completion, Completions, JobRef, LinkConfig, ReceiveError,
    ReplyItemRef, Submitter, WorkerLink, create_link,
    wire::{InputRef, RequestWriter, ValueRef},
};

const HEADERS: [(&str, &str); 4] = [
    ("Host", "127.0.0.1:8080"),
    ("User-Agent", "bench"),
    ("Accept", "*/*"),
    ("Content-Type", "application/octet-stream"),
];

fn ends() -> (Arena, Submitter, Completions, WorkerLink) {
    let limits = ArenaLimits {
        capacity_bytes: 256 << 20,
    };
    let config = LinkConfig {
        depth: 2,
        max_batch: 64,
        reply_bytes: 256 << 20,
    };
    let arena = Arena::new(&limits).expect("a memory file can be made");
    let (submitter, completions, fds) = create_link(&config).expect("a link can be made");
    let reader = arena.reader_fd().try_clone_to_owned();
    let reader = reader.expect("a descriptor can be duplicated");
    let worker = WorkerLink::open(fds.link, reader, fds.wake).expect("the link is sound");
    (arena, submitter, completions, worker)
}

fn write(arena: &Arena, body: &[u8]) -> (Block, JobRef) {
    let inputs = [InputRef {
        name: "body",
        content_type: "application/octet-stream",
        value: ValueRef::Inline(body),
    }];
    let writer = RequestWriter {
        id: "123e4567-e89b-12d3-a456-426614174000",
        headers: &HEADERS,
        inputs: &inputs,
    };
    let mut block = arena
        .allocate(writer.encoded_len())
        .expect("the arena has room");
    writer.write(&mut block);
    let job = JobRef {
        offset: block.offset(),
        len: block.len() as u32,
    };
    (block, job)
}

/// Answers every request of a batch with its first input.
fn answer(worker: &WorkerLink, timeout: Option<Duration>) -> Result<(), ReceiveError> {
    let batch = worker.receive(timeout)?;
    let requests: Vec<_> = batch
        .jobs
        .iter()
        .map(|job| worker.request(job).expect("the record is sound"))
        .collect();
    let items: Vec<_> = (0..)
        .zip(&requests)
        .map(|(index, request)| ReplyItemRef {
            index,
            status: 200,
            phrase: None,
            headers: &[],
            body: worker
                .value(&request.inputs()[0].value)
                .expect("the value is sound"),
        })
        .collect();
    worker
        .reply(batch.batch_id, 200, "", true, &items)
        .expect("the area has room");
    Ok(())
}

fn take(completions: &mut Completions) -> Completion {
    loop {
        match completions.poll().expect("the worker is sound") {
            Some(completion) => return completion,
            None => completions.wait(None),
        };
    }
}

fn without_wake_ups(criterion: &mut Criterion) {
    let (arena, mut submitter, mut completions, worker) = ends();
    let mut group = criterion.benchmark_group("one_thread");
    for len in [100_usize, 16 << 10, 1 << 20] {
        let body = vec![7; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("one_request", len), |bencher| {
            bencher.iter(|| {
                let (_block, job) = write(&arena, black_box(&body));
                submitter.submit(1, &[job]).expect("the link is idle");
                answer(&worker, None).expect("a batch is there");
                take(&mut completions)
            });
        });
    }
    group.throughput(Throughput::Elements(64));
    group.bench_function("batch_of_64", |bencher| {
        bencher.iter(|| {
            let written: Vec<_> = (0..64).map(|_| write(&arena, &[7; 100])).collect();
            let jobs: Vec<_> = written.iter().map(|(_, job)| *job).collect();
            submitter.submit(1, &jobs).expect("the link is idle");
            answer(&worker, None).expect("a batch is there");
            take(&mut completions)
        });
    });
    group.finish();
}

fn ping_pong(criterion: &mut Criterion) {
    let (arena, mut submitter, mut completions, worker) = ends();
    let (_block, job) = write(&arena, &[7; 100]);
    std::thread::scope(|scope| {
        scope.spawn(|| while answer(&worker, None).is_ok() {});
        criterion.bench_function("two_threads/ping_pong", |bencher| {
            bencher.iter(|| {
                submitter.submit(1, &[job]).expect("the link is idle");
                take(&mut completions)
            });
        });
        submitter.close();
    });
}

criterion_group!(benches, without_wake_ups, ping_pong);
criterion_main!(benches);
