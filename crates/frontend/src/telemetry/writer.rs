//! The thread that writes log lines to files, and the one that writes them to standard output: a
//! terminal or pipe that nobody reads holds up neither the files nor the server.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use super::losses::{Losses, Place};
use super::queue::{Bell, Queue};
use super::repeats::Repeats;
use super::rotation::Rotation;
use super::sink::{Folders, Sink};
use super::{access, form};
use crate::config::LogForm;

/// Lines taken from a queue at a time.
const LINES_AT_ONCE: usize = 8192;

/// Pause after writing, so that a busy server's lines are written many at a time.
const GATHERING: Duration = Duration::from_millis(25);

/// Longest sleep of an idle writer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Portions that may wait for standard output.
const PORTIONS: usize = 8;

/// Bytes that wait beside them for a reader that has fallen behind, before lines are lost.
const MOST_HELD: usize = 32 << 20;

/// Added to the niceness of the threads that write: on a busy machine requests come first.
const NICENESS: i32 = 10;

/// Longest wait for the last lines when the server ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// The queues that the writer empties.
#[derive(Debug, Clone)]
pub(super) struct Queues {
    pub server: Arc<Queue>,
    pub access: Arc<Queue>,
    pub model: Arc<Queue>,
    pub server_metrics: Arc<Queue>,
    pub model_metrics: Arc<Queue>,
}

impl Queues {
    pub(super) fn new(bell: &Arc<Bell>, losses: &Arc<Losses>, lines: usize, bytes: usize) -> Self {
        let queue = || Arc::new(Queue::new(bell, losses, lines, bytes));
        Self {
            server: queue(),
            access: queue(),
            model: queue(),
            server_metrics: queue(),
            model_metrics: queue(),
        }
    }

    fn each(&self) -> [&Arc<Queue>; 5] {
        [
            &self.server,
            &self.access,
            &self.model,
            &self.server_metrics,
            &self.model_metrics,
        ]
    }
}

/// Keeps the logs open; dropping it writes what is still waiting.
#[derive(Debug)]
#[must_use = "dropping the guard ends the logs"]
pub struct Guard {
    is_closing: Arc<AtomicBool>,
    bell: Arc<Bell>,
    done: Receiver<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::SeqCst);
        self.bell.ring();
        // The writer hangs up when it is done. Nothing is left to be done about one that is stuck.
        self.done.recv_timeout(2 * FAREWELL).ok();
    }
}

/// How lines are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub form: LogForm,
    pub rotation: Rotation,
    /// How often a message is written in ten seconds; 0: always.
    pub repeat_limit: u32,
}

/// Opens the files and starts the threads; `output` is the standard output. Files that cannot be opened are described.
pub(super) fn spawn(
    folders: &Folders,
    manner: Manner,
    queues: Queues,
    (bell, losses): (Arc<Bell>, Arc<Losses>),
    output: impl Write + Send + 'static,
) -> io::Result<(Guard, Vec<String>)> {
    let mut problems = Vec::new();
    let mut open = |name| Sink::open(&folders.logs, name, manner.rotation, &mut problems);
    let (server, access, model) = (
        open("ts_log.log"),
        open("access_log.log"),
        open("model_log.log"),
    );
    let mut open = |name| Sink::open(&folders.metrics, name, manner.rotation, &mut problems);
    let metrics = [open("ts_metrics.log"), open("model_metrics.log")];
    let (portions, console) = start_console(output)?;
    let (hold, done) = mpsc::sync_channel::<()>(0);
    let is_closing = Arc::new(AtomicBool::new(false));
    let guard = Guard {
        is_closing: Arc::clone(&is_closing),
        bell: Arc::clone(&bell),
        done,
    };
    let writer = Writer {
        queues,
        server,
        access,
        model,
        metrics,
        portions,
        form: manner.form,
        repeats: Repeats::new(manner.repeat_limit, manner.form),
        losses,
        reported: 0,
        last_report: None,
        everything: Vec::new(),
        own: Vec::new(),
    };
    thread::Builder::new()
        .name("log-writer".to_owned())
        .spawn(move || {
            give_way();
            writer.run(&bell, &is_closing);
            console.recv_timeout(FAREWELL).ok();
            drop(hold);
        })?;
    Ok((guard, problems))
}

struct Writer {
    queues: Queues,
    server: Sink,
    access: Sink,
    model: Sink,
    /// Of the server, of models.
    metrics: [Sink; 2],
    portions: SyncSender<Vec<u8>>,
    form: LogForm,
    repeats: Repeats,
    losses: Arc<Losses>,
    /// Lost lines that the server log has mentioned.
    reported: u64,
    last_report: Option<Instant>,
    /// Lines for the standard output, as long as its thread is behind.
    everything: Vec<u8>,
    /// Lines of one kind, for its own file.
    own: Vec<u8>,
}

impl Writer {
    /// Writes until the guard is dropped and the queues are empty.
    fn run(mut self, bell: &Bell, is_closing: &AtomicBool) {
        bell.belongs_to(thread::current());
        loop {
            // Read first: lines sent before the guard was dropped are then still seen.
            let is_last = is_closing.load(Ordering::SeqCst);
            let lines = self.write_once(is_last);
            if lines > 0 {
                if lines < LINES_AT_ONCE && !is_last {
                    thread::park_timeout(GATHERING);
                }
            } else if is_last {
                return;
            } else {
                let queues = self.queues.each();
                bell.wait(
                    || !is_closing.load(Ordering::SeqCst) && queues.iter().all(|it| it.is_empty()),
                    PATIENCE,
                );
            }
        }
    }

    /// Writes what waits, within limits; returns the number of lines.
    ///
    /// Requests are in the access log and on the standard output. The server log holds what the
    /// server and the workers say, and would be mostly requests otherwise.
    fn write_once(&mut self, is_last: bool) -> usize {
        let queues = self.queues.clone();
        let now = Instant::now();
        let held = self.everything.len();
        let mut lines = self.collect(&queues.server, now, |_, _| {});
        lines += self.collect(&queues.model, now, append_line);
        self.write_own(|writer| &mut writer.model);
        for (sink, queue) in self
            .metrics
            .iter_mut()
            .zip([&queues.server_metrics, &queues.model_metrics])
        {
            // Not on standard output and in the server log: nobody reads figures there.
            lines += append_lines(&mut self.own, queue);
            write(sink, &self.own, &self.losses);
            self.own.clear();
        }
        self.settle_repeats(now, is_last);
        self.report_losses();
        let server = &self.everything[held..];
        write(&mut self.server, server, &self.losses);
        let append_access = match self.form {
            LogForm::Text => access::append_short,
            LogForm::Json => append_line,
        };
        lines += self.collect_access(&queues.access, append_access);
        self.write_own(|writer| &mut writer.access);
        self.print();
        lines
    }

    fn collect(
        &mut self,
        queue: &Queue,
        now: Instant,
        append_own: fn(&mut Vec<u8>, &[u8]),
    ) -> usize {
        let mut lines = 0;
        while lines < LINES_AT_ONCE
            && let Some(line) = queue.receive()
        {
            lines += 1;
            if self.repeats.admits(&line, now) {
                append_line(&mut self.everything, &line);
                append_own(&mut self.own, &line);
            }
            queue.give_back(line);
        }
        lines
    }

    /// Requests are all different.
    fn collect_access(&mut self, queue: &Queue, append_own: fn(&mut Vec<u8>, &[u8])) -> usize {
        let mut lines = 0;
        while lines < LINES_AT_ONCE
            && let Some(line) = queue.receive()
        {
            lines += 1;
            append_line(&mut self.everything, &line);
            append_own(&mut self.own, &line);
            queue.give_back(line);
        }
        lines
    }

    fn write_own(&mut self, sink: fn(&mut Self) -> &mut Sink) {
        let own = std::mem::take(&mut self.own);
        let losses = Arc::clone(&self.losses);
        write(sink(self), &own, &losses);
        self.own = own;
        self.own.clear();
    }

    /// Says what was left out because it had been said often enough.
    fn settle_repeats(&mut self, now: Instant, is_last: bool) {
        let Self {
            repeats,
            everything,
            ..
        } = self;
        repeats.settle(now, is_last, |line| append_line(everything, line));
    }

    /// Says how many lines are missing, once a second at most.
    fn report_losses(&mut self) {
        let total = self.losses.total();
        let is_due = self
            .last_report
            .is_none_or(|last| last.elapsed() > PATIENCE);
        if total == self.reported || !is_due {
            return;
        }
        let form = self.form;
        let places: Vec<String> = (self.losses.by_place().iter())
            .filter(|(_, lines)| *lines > 0)
            .map(|(place, lines)| format!("{place}: {lines}"))
            .collect();
        let text = format!(
            "{} log lines were dropped: the disk or the reader of standard output is too slow \
             (since the start: {})",
            total - self.reported,
            places.join(", ")
        );
        let mut line = Vec::new();
        form::start(&mut line, form, "WARN ", &["log-writer"], module_path!());
        match form {
            LogForm::Text => line.extend_from_slice(text.as_bytes()),
            LogForm::Json => {
                form::member(&mut line, "message", &text);
                form::finish(&mut line);
            }
        }
        append_line(&mut self.everything, &line);
        self.reported = total;
        self.last_report = Some(Instant::now());
    }

    /// Hands everything to the thread of standard output; what it cannot take yet is held back.
    fn print(&mut self) {
        if self.everything.is_empty() {
            return;
        }
        let portion = std::mem::take(&mut self.everything);
        if let Err(TrySendError::Full(portion)) = self.portions.try_send(portion) {
            self.everything = portion;
            if self.everything.len() > MOST_HELD {
                self.losses
                    .add(Place::Output, count_lines(&self.everything));
                self.everything = Vec::new();
            }
        }
    }
}

/// Lets other threads go before the calling one. Linux keeps the niceness per thread.
fn give_way() {
    // Logs are written all the same where that is not allowed.
    rustix::process::nice(NICENESS).ok();
}

fn write(sink: &mut Sink, chunk: &[u8], losses: &Losses) {
    if !sink.write(chunk) {
        losses.add(Place::File, count_lines(chunk));
    }
}

/// Moves what waits to a chunk; returns the number of lines.
fn append_lines(chunk: &mut Vec<u8>, queue: &Queue) -> usize {
    let mut lines = 0;
    while lines < LINES_AT_ONCE
        && let Some(line) = queue.receive()
    {
        lines += 1;
        append_line(chunk, &line);
        queue.give_back(line);
    }
    lines
}

fn append_line(chunk: &mut Vec<u8>, line: &[u8]) {
    chunk.extend_from_slice(line);
    chunk.push(b'\n');
}

fn count_lines(chunk: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', chunk).count() as u64
}

/// Starts the thread that writes portions to standard output; the receiver hangs up when it ends.
fn start_console(
    mut output: impl Write + Send + 'static,
) -> io::Result<(SyncSender<Vec<u8>>, Receiver<()>)> {
    let (portions, waiting) = mpsc::sync_channel::<Vec<u8>>(PORTIONS);
    let (hold, done) = mpsc::sync_channel::<()>(0);
    thread::Builder::new()
        .name("log-console".to_owned())
        .spawn(move || {
            give_way();
            for portion in waiting {
                if output
                    .write_all(&portion)
                    .and_then(|()| output.flush())
                    .is_err()
                {
                    break;
                }
            }
            drop(hold);
        })?;
    Ok((portions, done))
}
