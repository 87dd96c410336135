//! The batcher as the server uses it, on real threads: many clients, several workers, one answer for each job.

#![cfg(not(loom))]

use std::{
    iter,
    num::NonZeroUsize,
    sync::{
        atomic::{AtomicBool, AtomicIsize, AtomicU32, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tserve_batcher::{
    Batcher, Combiner, Consumer, Policy, Producer, Queued, Take, Taken, Taker, bounded,
};

const CLIENTS: usize = 4;
const JOBS_PER_CLIENT: usize = if cfg!(miri) { 30 } else { 5_000 };
const WORKERS: usize = 3;
const CAPACITY: u8 = 7;
const BATCH_SIZE: usize = 4;

/// Longer than any wait here can be unless a wake-up was lost.
const STUCK: Duration = Duration::from_secs(60);

/// What is left of a job when it is gone.
#[derive(Default)]
struct Record {
    is_cancelled: AtomicBool,
    answers: AtomicU32,
}

/// A job of one client; dropping it is its answer.
struct Job<'a> {
    client: usize,
    number: usize,
    arrived: Instant,
    record: &'a Record,
    held: &'a AtomicIsize,
}

impl Queued for Job<'_> {
    fn is_live(&self, _now: Instant) -> bool {
        !self.record.is_cancelled.load(Relaxed)
    }

    fn arrived(&self) -> Instant {
        self.arrived
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.record.answers.fetch_add(1, Relaxed);
        self.held.fetch_sub(1, Relaxed);
    }
}

struct Server<'a> {
    batcher: Batcher<Job<'a>>,
    /// Workers that want a batch.
    idle: Producer<usize>,
    gate: Combiner<Dispatch<'a>>,
    is_over: AtomicBool,
}

struct Dispatch<'a> {
    taker: Taker<Job<'a>>,
    idle: Consumer<usize>,
    /// An idle worker for whom there was no batch.
    next: Option<usize>,
    workers: Vec<Sender<Vec<Job<'a>>>>,
    /// The job of each client that left the queue last.
    last: [Option<usize>; CLIENTS],
}

impl<'a> Server<'a> {
    fn new() -> (Self, Vec<Receiver<Vec<Job<'a>>>>) {
        let policy = Policy {
            batch_size: NonZeroUsize::new(BATCH_SIZE).unwrap(),
            max_batch_delay: Duration::ZERO,
        };
        let (batcher, taker) = Batcher::new(policy, CAPACITY.into());
        let (idle, idle_consumer) = bounded(WORKERS);
        let (workers, inboxes) = iter::repeat_with(channel).take(WORKERS).unzip();
        let gate = Combiner::new(Dispatch {
            taker,
            idle: idle_consumer,
            next: None,
            workers,
            last: [None; CLIENTS],
        });
        let is_over = AtomicBool::new(false);
        let server = Self {
            batcher,
            idle,
            gate,
            is_over,
        };
        (server, inboxes)
    }

    fn dispatch(&self) {
        self.gate.run(|dispatch| {
            if self.is_over.load(Relaxed) {
                dispatch.workers.clear();
            } else {
                dispatch.hand_out();
            }
        });
    }

    /// Pushes the jobs of one client, and now and then stops waiting for one.
    fn act_as_client(&self, client: usize, records: &'a [Record], held: &'a AtomicIsize) {
        for (number, record) in records.iter().enumerate() {
            let mut job = Job {
                client,
                number,
                arrived: Instant::now(),
                record,
                held,
            };
            let deadline = job.arrived + STUCK;
            while let Err(refused) = self.batcher.push(job) {
                job = refused.into_inner();
                assert!(Instant::now() < deadline, "no place becomes free");
                thread::yield_now();
            }
            // Raised late and lowered early, hence at most the number of places in use.
            assert!(held.fetch_add(1, Relaxed) < CAPACITY.into());
            self.dispatch();
            record.is_cancelled.store(number % 7 == 0, Relaxed);
        }
    }

    /// Runs batches until the server is over.
    fn act_as_worker(&self, worker: usize, inbox: &Receiver<Vec<Job<'a>>>) {
        loop {
            self.idle.push(worker).unwrap();
            self.dispatch();
            let jobs = match inbox.recv_timeout(STUCK) {
                Ok(jobs) => jobs,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("worker {worker} was forgotten"),
            };
            let started = jobs.len();
            drop(jobs);
            self.batcher.release(started);
        }
    }
}

impl Dispatch<'_> {
    /// Gives batches to idle workers while there are both.
    fn hand_out(&mut self) {
        while let Some(worker) = self.next.take().or_else(|| self.pop_idle()) {
            let Taken::Batch(jobs) = self.taker.take(Instant::now(), Take::DueOnly) else {
                self.next = Some(worker);
                break;
            };
            assert!((1..=BATCH_SIZE).contains(&jobs.len()));
            for job in &jobs {
                let last = self.last[job.client].replace(job.number);
                assert!(last < Some(job.number), "the order of a client is lost");
            }
            self.workers[worker].send(jobs).unwrap();
        }
    }

    fn pop_idle(&mut self) -> Option<usize> {
        let worker = self.idle.pop()?;
        self.idle.release(1);
        Some(worker)
    }
}

#[test]
fn each_job_of_many_clients_is_answered_once() {
    let held = AtomicIsize::new(0);
    let records: [Vec<Record>; CLIENTS] = std::array::from_fn(|_| {
        iter::repeat_with(Record::default)
            .take(JOBS_PER_CLIENT)
            .collect()
    });
    let (server, inboxes) = Server::new();
    thread::scope(|scope| {
        for (worker, inbox) in inboxes.into_iter().enumerate() {
            let server = &server;
            scope.spawn(move || server.act_as_worker(worker, &inbox));
        }
        thread::scope(|clients| {
            for (client, records) in records.iter().enumerate() {
                let (server, held) = (&server, &held);
                clients.spawn(move || server.act_as_client(client, records, held));
            }
        });
        // No client calls `dispatch` any more: the workers alone must bring the rest to its end.
        let deadline = Instant::now() + STUCK;
        while held.load(Relaxed) != 0 && Instant::now() < deadline {
            thread::yield_now();
        }
        server.is_over.store(true, Relaxed);
        server.dispatch();
    });
    assert_eq!(held.load(Relaxed), 0);
    assert_eq!(server.batcher.waiting(), 0);
    for (client, records) in records.iter().enumerate() {
        for (number, record) in records.iter().enumerate() {
            let answers = record.answers.load(Relaxed);
            assert_eq!(answers, 1, "job {number} of client {client}");
        }
    }
}
