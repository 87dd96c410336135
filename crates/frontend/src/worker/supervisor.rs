//! The life of one worker: start, load, serve, fail, back off, start again; stop when told.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, watch};
use tserve_shm::create_link;

use super::backoff::Backoff;
use super::context::{InputKind, ModelContext};
use super::control::{Control, ControlError, FromWorker};
use super::failure::{LastFailure, Raised};
use super::history::FailureOf;
use super::life::Life;
use super::memory;
use super::output;
use super::process::{Process, kill_group};
use super::schemas::Schemas;
use super::side_by_side::SideBySide;
use super::status::{WorkerState, WorkerStatus};
use super::streaming::wait_for_room;
use crate::dispatch::{InFlight, Kind, LinkEnd, Room};
use crate::error::Error;
use crate::telemetry::{Loss, Stream};

/// What a worker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopMode {
    /// Serve.
    Run,
    /// Finish what is in flight, take nothing more, end.
    Drain,
    /// End at once.
    Kill,
}

/// How the first load of a worker went; `None` while it lasts.
pub(super) type FirstLoad = Option<Result<(), LastFailure>>;

/// Permission to load while others wait for theirs.
type LoadTurn = Option<OwnedSemaphorePermit>;

/// How long a worker that loads may keep others from it.
const LOAD_TURN: Duration = Duration::from_secs(10);

/// Drives one worker until it is stopped.
pub(super) struct Supervisor {
    pub(super) context: Arc<ModelContext>,
    pub(super) status: Arc<WorkerStatus>,
    pub(super) stop: watch::Receiver<StopMode>,
    pub(super) first_load: watch::Sender<FirstLoad>,
    /// Told when this worker is given up, so that requests that only it could serve are answered.
    pub(super) given_up: Box<dyn Fn() + Send + Sync>,
}

/// How one life of a worker ended.
enum End {
    Stopped,
    Failed(LastFailure),
}

/// What ended the serving phase of a life.
enum Event {
    /// The process ended.
    Exit(ExitStatus),
    /// The control socket closed or failed; the process is ending or unreachable.
    Lost(String),
    /// The worker broke the protocol.
    Broken(String),
    /// No reply within the response timeout.
    TimeOut,
    /// It is to stop.
    Stop(StopMode),
}

impl Event {
    /// What was lost by it.
    fn loss(&self) -> Option<Loss> {
        match self {
            Self::Exit(_) | Self::Lost(_) => Some(Loss::Exit),
            Self::Broken(_) => Some(Loss::Protocol),
            Self::TimeOut => Some(Loss::Timeout),
            Self::Stop(_) => None,
        }
    }
}

impl Supervisor {
    /// Runs until stopped; then no process of the worker is left.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.context.settings.max_retry_timeout);
        while *self.stop.borrow() == StopMode::Run {
            self.status.set_state(WorkerState::Loading);
            let End::Failed(failure) = self.live(&mut backoff).await else {
                break;
            };
            self.status.set_pid(-1);
            self.note(&failure, backoff.failures());
            let history = &self.context.failures;
            history.add(FailureOf::Worker, self.status.id, failure.clone());
            let delay = backoff.next_delay(Instant::now());
            self.status.set_failure(failure.clone());
            self.status.set_state(match delay {
                Some(_) => WorkerState::BackingOff,
                None => WorkerState::Failed,
            });
            self.first_load.send_if_modified(|first| {
                let is_first = first.is_none();
                if is_first {
                    *first = Some(Err(failure));
                }
                is_first
            });
            if let Some(delay) = delay {
                let _ = tokio::time::timeout(delay, self.stopped()).await;
            } else {
                tracing::error!(
                    worker = %self.thread_name(),
                    "worker kept failing for longer than maxRetryTimeoutInSec; it is given up"
                );
                (self.given_up)();
                self.stopped().await;
            }
        }
        self.status.set_state(WorkerState::Stopping);
        self.status.set_pid(-1);
    }

    /// `W-<id>-<model>_<version>`: the worker's name in the logs.
    fn thread_name(&self) -> String {
        format!(
            "W-{}-{}_{}",
            self.status.id, self.context.name, self.context.version
        )
    }

    fn note(&self, failure: &LastFailure, failures: usize) {
        let worker = self.thread_name();
        if let Some(raised) = &failure.raised {
            let traceback = raised.traceback.trim_end();
            tracing::warn!(%worker, failures, "{}\n{traceback}", failure.summary);
        } else {
            tracing::warn!(%worker, failures, "{}", failure.summary);
        }
    }

    /// Resolves when the worker is to stop in whatever way.
    async fn stopped(&mut self) {
        // A pool that is gone stops its workers.
        let _ = self.stop.wait_for(|mode| *mode != StopMode::Run).await;
    }

    async fn live(&mut self, backoff: &mut Backoff) -> End {
        let environment = Arc::clone(&self.context.environment);
        let turn = tokio::select! {
            turn = environment.load_turn() => turn,
            () = self.stopped() => return End::Stopped,
        };
        let (mut life, submitter) = match self.start().await {
            Ok(started) => started,
            Err(error) => {
                self.context.metrics.lost(Loss::Load);
                return End::Failed(LastFailure::new(format!("cannot start a worker: {error}")));
            }
        };
        if let Some(end) = self.load(&mut life, turn).await {
            if let End::Failed(_) = end {
                self.context.metrics.lost(Loss::Load);
            }
            life.end().await;
            return end;
        }
        backoff.reset();
        self.context
            .dispatcher
            .attach(self.status.id, submitter, Arc::clone(&life.in_flight));
        self.status.set_state(WorkerState::Ready);
        self.first_load.send_replace(Some(Ok(())));
        let worker = self.thread_name();
        tracing::info!(%worker, pid = life.pid, "worker is ready");
        let age = jiff::Timestamp::now().duration_since(self.status.created);
        let metrics = &self.context.telemetry.metrics;
        metrics.worker_loaded(&worker, Duration::try_from(age).unwrap_or_default());
        let end = self.serve(&mut life).await;
        life.end().await;
        end
    }

    async fn start(&self) -> std::io::Result<(Life, tserve_shm::Submitter)> {
        let context = &self.context;
        let (submitter, completions, worker_fds) = create_link(&context.link_config())?;
        let arena = context.arena.reader_fd().try_clone_to_owned()?;
        let memory_kills = memory::kills();
        let name: Arc<str> = self.thread_name().into();
        let (child, control) = self.start_process(worker_fds, arena, &name).await?;
        let pid = child.id();
        self.status.set_pid(pid);
        let life = Life {
            child,
            pid,
            memory_kills,
            control: Control::new(control)?,
            completions,
            in_flight: InFlight::new(context.dispatcher.kind()),
            current: None,
            worker: self.status.id,
            context: Arc::clone(context),
            free_since: None,
            resting: None,
            side_by_side: (*context.dispatcher.kind() == Kind::SideBySide)
                .then(|| Box::new(SideBySide::new())),
        };
        Ok((life, submitter))
    }

    /// Starts a process: a fork of the model's template if there is to be one, else a fresh
    /// interpreter.
    async fn start_process(
        &self,
        link: tserve_shm::WorkerFds,
        arena: OwnedFd,
        name: &Arc<str>,
    ) -> std::io::Result<(Process, UnixStream)> {
        let context = &self.context;
        let link = if context.uses_template(&self.status.assigned) {
            match context.fork(link, arena.try_clone()?, name).await {
                Ok(forked) => return Ok(forked),
                Err((error, link)) => {
                    tracing::warn!(worker = %name, "starts without its template: {error}");
                    link
                }
            }
        } else {
            link
        };
        let variables = context.variables(&self.status.assigned);
        let environment = &context.environment;
        let (mut child, control) = environment.spawn(context.python(), &variables, link, arena)?;
        if let Some(pipe) = child.stdout.take() {
            output::pump(pipe, Arc::clone(context), Arc::clone(name), Stream::Stdout);
        }
        if let Some(pipe) = child.stderr.take() {
            output::pump(pipe, Arc::clone(context), Arc::clone(name), Stream::Stderr);
        }
        Ok((Process::Spawned(child), control))
    }

    /// Tells the worker what to load and waits for the outcome; `None` means it is loaded.
    /// Others get its turn when it has ended, or earlier when it takes long: it may be waiting for
    /// something.
    async fn load(&mut self, life: &mut Life, mut turn: LoadTurn) -> Option<End> {
        let context = Arc::clone(&self.context);
        let settings = &context.settings;
        let load = context.load_message(&self.status.assigned);
        // A worker that is dead already shows as such below.
        let _ = life.control.send(&load).await;
        let started = tokio::time::Instant::now();
        let deadline = started + settings.startup_timeout;
        loop {
            let message = tokio::select! {
                biased;
                message = life.control.receive() => message,
                () = tokio::time::sleep_until(started + LOAD_TURN), if turn.is_some() => {
                    turn = None;
                    continue;
                }
                Ok(status) = life.child.wait() => {
                    return Some(End::Failed(life.died(status).while_loading()));
                }
                () = self.stopped() => {
                    kill_group(life.pid);
                    return Some(End::Stopped);
                }
                () = tokio::time::sleep_until(deadline) => {
                    kill_group(life.pid);
                    let seconds = settings.startup_timeout.as_secs();
                    let summary = format!("the worker did not load within {seconds} s");
                    return Some(End::Failed(LastFailure::new(summary)));
                }
            };
            match message {
                Ok(FromWorker::Loaded {
                    schemas,
                    takes_tensors,
                    json_numbers,
                }) => {
                    // All workers run the same handler: the first word counts.
                    if let Some(schemas) = Schemas::checked(schemas) {
                        let _ = context.schemas.set(schemas);
                    }
                    context.input_kind.get_or_init(|| {
                        if takes_tensors {
                            InputKind::Typed(json_numbers)
                        } else {
                            InputKind::Plain
                        }
                    });
                    return None;
                }
                Ok(FromWorker::Hello { version, .. }) => self.check_version(&version),
                Ok(FromWorker::Metrics { lines }) => self.context.measured(&lines),
                Ok(FromWorker::Failed {
                    code,
                    exception,
                    message,
                    traceback,
                    file,
                    line,
                }) => {
                    let raised = Raised {
                        exception,
                        message,
                        traceback,
                        file,
                        line,
                    };
                    return Some(End::Failed(LastFailure::raised(code, raised)));
                }
                Err(error) => {
                    return Some(End::Failed(match life.exit_status().await {
                        Some(status) => life.died(status).while_loading(),
                        None => LastFailure::new(error.to_string()),
                    }));
                }
            }
        }
    }

    fn check_version(&self, version: &str) {
        let ours = env!("CARGO_PKG_VERSION");
        if version != ours {
            let worker = self.thread_name();
            tracing::warn!(%worker, version, ours, "worker package and server differ in version");
        }
    }

    /// Serves until the worker dies, hangs, lies or is stopped; every batch it had is settled.
    async fn serve(&mut self, life: &mut Life) -> End {
        let event = self.serve_batches(life).await;
        if let Some(loss) = event.loss() {
            self.context.metrics.lost(loss);
        }
        let failure = match event {
            Event::Stop(mode) => {
                self.stop_serving(life, mode).await;
                return End::Stopped;
            }
            Event::Exit(status) => life.died(status),
            Event::Lost(reason) => match life.exit_status().await {
                Some(status) => life.died(status),
                None => LastFailure::new(reason),
            },
            Event::Broken(how) => LastFailure::new(how),
            Event::TimeOut => {
                let limit = self.context.settings.response_timeout;
                LastFailure::new(format!("no response within {} s", limit.as_secs_f64()))
            }
        };
        kill_group(life.pid);
        self.status.set_state(WorkerState::BackingOff);
        let link = self.context.dispatcher.detach(self.status.id).await;
        self.settle(life, link, &Error::worker_died(failure.status));
        End::Failed(failure)
    }

    /// Takes the worker out of service; unless it is to end at once, what it runs may finish.
    async fn stop_serving(&mut self, life: &mut Life, mode: StopMode) {
        self.status.set_state(WorkerState::Stopping);
        let link = if mode == StopMode::Drain {
            self.drain(life).await
        } else {
            self.context.dispatcher.detach(self.status.id).await
        };
        if !life.is_idle() {
            // What is told to be undone must not be done a moment later.
            life.kill().await;
        }
        if let Some(link) = &link {
            link.submitter.close();
        }
        let name = &self.context.name;
        let error = Error::Unavailable(format!(
            "Model \"{name}\" is being stopped; send the request again."
        ));
        self.settle(life, link, &error);
    }

    async fn serve_batches(&mut self, life: &mut Life) -> Event {
        let bell = match life.bell() {
            Ok(bell) => bell,
            Err(error) => return Event::Broken(error.to_string()),
        };
        let limit = self.context.settings.response_timeout;
        // Watching a clock per request would cost a timer per request; looking every so often
        // costs nothing and is late by an eighth at most.
        let period = (limit / 8).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let mut clock = tokio::time::interval(period);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            match life.collect(self.context.reply_limits()) {
                Ok(0) => {}
                Ok(_) => self.context.dispatcher.pump(),
                Err(how) => return Event::Broken(how),
            }
            if let Some(room) = life.lacks_room() {
                match self.hold_back(life, &room).await {
                    Some(event) => return event,
                    None => continue,
                }
            }
            if !life.completions.prepare_to_wait() {
                continue;
            }
            tokio::select! {
                () = bell.rung(&life.completions) => {}
                Ok(status) = life.child.wait() => return Event::Exit(status),
                message = life.control.receive() => match message {
                    Ok(FromWorker::Metrics { lines }) => self.context.measured(&lines),
                    Ok(_) => return Event::Broken("a control message out of turn".to_owned()),
                    Err(ControlError::Closed) => {
                        return Event::Lost("the worker closed its control socket".to_owned());
                    }
                    Err(error) => return Event::Broken(error.to_string()),
                },
                _ = clock.tick() => {
                    if life.is_late(limit).await {
                        return Event::TimeOut;
                    }
                }
                () = self.stopped() => return Event::Stop(*self.stop.borrow()),
            }
        }
    }

    /// Leaves the worker's replies where they are until the client of a stream has caught up.
    async fn hold_back(&mut self, life: &mut Life, room: &Room) -> Option<Event> {
        let stall = self.context.config.stream_stall_timeout;
        tokio::select! {
            () = wait_for_room(room, stall) => {
                life.resume(stall);
                None
            }
            Ok(status) = life.child.wait() => Some(Event::Exit(status)),
            // A worker that reports while it waits must not wait for this, too.
            Ok(FromWorker::Metrics { lines }) = life.control.receive() => {
                self.context.measured(&lines);
                None
            }
            () = self.stopped() => Some(Event::Stop(*self.stop.borrow())),
        }
    }

    /// Answers or hands back every batch the worker still has: those it had begun fail, those it
    /// had not go back into the queue.
    fn settle(&self, life: &mut Life, link: Option<LinkEnd>, error: &Error) {
        // Replies that were written before the end are as good as any.
        let _ = life.collect_rest(self.context.reply_limits());
        if let Some(batch) = life.current.take() {
            batch.fail(error);
            life.in_flight.finish();
        }
        if let Some(mut open) = life.side_by_side.take() {
            open.fail(&life.in_flight, error);
        }
        if let Some(round) = life.resting.take() {
            round.fail(error);
            life.in_flight.finish();
        }
        while let Some(round) = life.in_flight.take_round() {
            round.fail(error);
        }
        let Some(link) = link else { return };
        for job in link.lost {
            job.answer(Err(error.clone()));
        }
        let started = link.submitter.started();
        let mut place = life.in_flight.finished();
        let mut unstarted = Vec::new();
        while let Some(batch) = life.in_flight.take() {
            if place < started {
                batch.fail(error);
            } else {
                for job in batch.into_jobs() {
                    if job.is_bound() {
                        job.answer(Err(error.clone()));
                    } else {
                        unstarted.push(job);
                    }
                }
            }
            life.in_flight.finish();
            place += 1;
        }
        self.context.dispatcher.release(link.unreleased);
        self.context.dispatcher.put_back(unstarted);
    }
}
