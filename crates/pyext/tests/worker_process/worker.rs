//! A Python process with the extension, and the server's ends of its link.

use std::{
    io::{BufRead, BufReader, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::io::{FdFlags, fcntl_setfd};
use tserve_shm::{
    Arena, ArenaLimits, Block, Completion, Completions, JobRef, LinkConfig, Submitter, create_link,
    wire::{InputRef, RequestWriter, ValueRef},
};

/// A worker that answers every request with what it was given.
pub(crate) const ECHO: &str = "
while (batch := link.recv()) is not None:
    data = batch.take_data()
    batch.reply(200, '', [
        (f'{data[i]}\\n{batch.headers[i]}\\n{batch.ids[i]}', 200, None, {})
        for i in range(len(batch))
    ])
";

const PREAMBLE: &str = "
import logging, sys
from tserve_worker import _native
logging.basicConfig(stream=sys.stdout)
link = _native.Link(*map(int, sys.argv[1:5]), sys.argv[5] == 'decode')
";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Request<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [InputRef<'a>]);

pub(crate) struct Worker {
    pub(crate) arena: Arena,
    pub(crate) submitter: Submitter,
    pub(crate) completions: Completions,
    child: Child,
    log: BufReader<std::process::ChildStdout>,
    control: Option<UnixStream>,
    blocks: Vec<Block>,
    next_batch: u64,
    _package: tempfile::TempDir,
}

impl Worker {
    /// Runs a script after `link` was opened, with a reply area of 64 MiB.
    pub(crate) fn start(script: &str) -> Self {
        Self::start_with(script, 64 << 20, "decode")
    }

    /// As `start`, but inputs are not decoded.
    pub(crate) fn start_raw(script: &str) -> Self {
        Self::start_with(script, 64 << 20, "raw")
    }

    pub(crate) fn start_with(script: &str, reply_bytes: u64, decode: &str) -> Self {
        let arena = Arena::new(&ArenaLimits {
            capacity_bytes: 300 << 20,
        })
        .unwrap();
        let config = LinkConfig {
            depth: 2,
            max_batch: 8,
            reply_bytes,
        };
        let (submitter, completions, fds) = create_link(&config).unwrap();
        let reader = arena.reader_fd().try_clone_to_owned().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let inherited = [
            fds.link.as_fd(),
            reader.as_fd(),
            fds.wake.as_fd(),
            theirs.as_fd(),
        ];
        for fd in inherited {
            fcntl_setfd(fd, FdFlags::empty()).unwrap();
        }
        let package = package();
        let script = format!("{PREAMBLE}{script}");
        let mut child = Command::new(std::env::var_os("PYO3_PYTHON").unwrap_or("python3".into()))
            .args(["-c", &script])
            .args(inherited.map(|fd| fd.as_raw_fd().to_string()))
            .arg(decode)
            .env("PYTHONPATH", package.path())
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        Self {
            arena,
            submitter,
            completions,
            child,
            log,
            control: Some(ours),
            blocks: Vec::new(),
            next_batch: 1,
            _package: package,
        }
    }

    pub(crate) fn submit(&mut self, requests: &[Request<'_>]) {
        let mut jobs = Vec::new();
        for (id, headers, inputs) in requests {
            let writer = RequestWriter {
                id,
                headers,
                inputs,
            };
            let mut block = self.arena.allocate(writer.encoded_len()).unwrap();
            writer.write(&mut block);
            jobs.push(JobRef {
                offset: block.offset(),
                len: u32::try_from(block.len()).unwrap(),
            });
            self.blocks.push(block);
        }
        self.submitter.submit(self.next_batch, &jobs).unwrap();
        self.next_batch += 1;
    }

    pub(crate) fn completion(&mut self) -> Completion {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(completion) = self.completions.poll().unwrap() {
                return completion;
            }
            assert!(Instant::now() < deadline, "no reply in time");
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "the worker has died"
            );
            self.completions.wait(Some(Duration::from_secs(1)));
        }
    }

    pub(crate) fn round_trip(&mut self, requests: &[Request<'_>]) -> Completion {
        self.submit(requests);
        let completion = self.completion();
        assert_eq!(completion.batch_id, self.next_batch - 1);
        self.blocks.clear();
        completion
    }

    /// Waits until the worker has taken what was submitted.
    pub(crate) fn await_start(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.submitter.started() < self.submitter.submitted() {
            assert!(Instant::now() < deadline, "the batch was not taken in time");
            std::thread::yield_now();
        }
    }

    pub(crate) fn await_line(&mut self, expected: &str) {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    }

    /// Closes the server's end of the control socket.
    pub(crate) fn hang_up(&mut self) {
        self.control = None;
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait_for_exit(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the worker still runs");
            std::thread::yield_now();
        }
    }

    /// Closes the link and yields what the worker printed.
    pub(crate) fn finish(&mut self) -> String {
        self.submitter.close();
        self.wait_for_exit(PATIENCE);
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn input<'a>(name: &'a str, content_type: &'a str, bytes: &'a [u8]) -> InputRef<'a> {
    InputRef {
        name,
        content_type,
        value: ValueRef::Inline(bytes),
    }
}

pub(crate) fn arena_value<'a>(name: &'a str, block: &Block) -> InputRef<'a> {
    InputRef {
        name,
        content_type: "",
        value: ValueRef::Arena {
            offset: block.offset(),
            len: block.len() as u64,
        },
    }
}

/// A folder with a package that holds nothing but the extension.
fn package() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("tserve_worker");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("__init__.py"), "").unwrap();
    std::fs::copy(extension(), package.join("_native.abi3.so")).unwrap();
    folder
}

/// The library that cargo has built for this test run.
fn extension() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.with_file_name("lib_native.so")
}
