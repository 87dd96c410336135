//! The queue and the batcher beside crossbeam's `ArrayQueue` and a locked `VecDeque`, all of the same capacity.
//!
//! `cargo bench -p tserve-batcher`. `alone` is one push and one pop on one thread: the cost without contention.
//! `crowd` is the time per value when several threads push to one that pops.

use std::{
    collections::VecDeque,
    hint::black_box,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use tserve_batcher::{Batcher, Combiner, Consumer, Policy, Producer, Queued, Take, Taken, bounded};

const CAPACITY: usize = 128;
const PUSHERS: usize = 3;

/// What is measured: a bounded queue with one thread at its far end.
trait Queue: Sync {
    type Consumer<'a>: Send
    where
        Self: 'a;

    fn push(&self, value: u64) -> bool;
    fn pop(&self, consumer: &mut Self::Consumer<'_>) -> Option<u64>;
}

impl Queue for Producer<u64> {
    type Consumer<'a> = Consumer<u64>;

    fn push(&self, value: u64) -> bool {
        Producer::push(self, value).is_ok()
    }

    fn pop(&self, consumer: &mut Consumer<u64>) -> Option<u64> {
        let value = consumer.pop()?;
        consumer.release(1);
        Some(value)
    }
}

impl Queue for ArrayQueue<u64> {
    type Consumer<'a> = ();

    fn push(&self, value: u64) -> bool {
        ArrayQueue::push(self, value).is_ok()
    }

    fn pop(&self, (): &mut ()) -> Option<u64> {
        ArrayQueue::pop(self)
    }
}

impl Queue for Mutex<VecDeque<u64>> {
    type Consumer<'a> = ();

    fn push(&self, value: u64) -> bool {
        let mut values = self.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = values.len() < CAPACITY;
        if has_room {
            values.push_back(value);
        }
        has_room
    }

    fn pop(&self, (): &mut ()) -> Option<u64> {
        let mut values = self.lock().unwrap_or_else(PoisonError::into_inner);
        values.pop_front()
    }
}

fn measure<'a, Q: Queue + 'a>(
    criterion: &mut Criterion,
    name: &str,
    queue: &'a Q,
    mut consumer: Q::Consumer<'a>,
) {
    criterion.bench_function(&format!("alone/{name}"), |bencher| {
        bencher.iter(|| {
            assert!(queue.push(black_box(1)));
            queue.pop(&mut consumer)
        });
    });
    criterion.bench_function(&format!("crowd/{name}"), |bencher| {
        bencher.iter_custom(|count| crowd(queue, &mut consumer, count));
    });
}

/// The time in which `count` values, rounded up to the same number for each thread, go through the queue.
fn crowd<Q: Queue>(queue: &Q, consumer: &mut Q::Consumer<'_>, count: u64) -> Duration {
    let each = count.div_ceil(PUSHERS as u64);
    thread::scope(|scope| {
        let start = Instant::now();
        for _ in 0..PUSHERS {
            scope.spawn(move || {
                for value in 0..each {
                    while !queue.push(value) {
                        thread::yield_now();
                    }
                }
            });
        }
        for _ in 0..each * PUSHERS as u64 {
            while queue.pop(consumer).is_none() {
                thread::yield_now();
            }
        }
        start.elapsed()
    })
}

fn queues(criterion: &mut Criterion) {
    let (producer, consumer) = bounded(CAPACITY);
    measure(criterion, "tserve", &producer, consumer);
    measure(
        criterion,
        "crossbeam ArrayQueue",
        &ArrayQueue::new(CAPACITY),
        (),
    );
    let locked = Mutex::new(VecDeque::with_capacity(CAPACITY));
    measure(criterion, "Mutex<VecDeque>", &locked, ());
}

struct Job(Instant);

impl Queued for Job {
    fn is_live(&self, _now: Instant) -> bool {
        true
    }

    fn arrived(&self) -> Instant {
        self.0
    }
}

/// One job's way through queue, gate and batch, without contention: push, combine, and every eighth time a batch.
fn batches(criterion: &mut Criterion) {
    let batch_size = NonZeroUsize::new(8).expect("8 is not zero");
    let policy = Policy {
        batch_size,
        max_batch_delay: Duration::from_secs(3600),
    };
    let (batcher, taker) = Batcher::new(policy, CAPACITY);
    let gate = Combiner::new(taker);
    let now = Instant::now();
    let mut group = criterion.benchmark_group("batcher");
    group.throughput(Throughput::Elements(1));
    group.bench_function("push and take in batches of 8", |bencher| {
        bencher.iter(|| {
            assert!(batcher.push(black_box(Job(now))).is_ok());
            gate.run(|taker| {
                if let Taken::Batch(jobs) = taker.take(now, Take::DueOnly) {
                    batcher.release(black_box(jobs).len());
                }
            });
        });
    });
    group.finish();
}

criterion_group!(benches, queues, batches);
criterion_main!(benches);
