//! Starting the test binary as a worker process.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::io::{FdFlags, fcntl_setfd};
use tserve_shm::{
    Arena, ArenaLimits, Block, Completion, Completions, JobRef, LinkConfig, ReplyItemRef,
    Submitter, WorkerLink, adopt_fd, create_link,
    wire::{InputRef, RequestWriter, ValueRef},
};

/// Names the role and the descriptors of a process that was started by [`Peer::start`].
const ROLE: &str = "TSERVE_SHM_TEST_ROLE";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server's ends, and the process at the other one.
pub(crate) struct Peer {
    pub(crate) arena: Arena,
    pub(crate) submitter: Submitter,
    pub(crate) completions: Completions,
    child: Child,
    link: OwnedFd,
}

impl Peer {
    pub(crate) fn start(role: &str, reply_bytes: u64) -> Self {
        let arena = Arena::new(&ArenaLimits {
            capacity_bytes: 300 << 20,
        })
        .unwrap();
        let config = LinkConfig {
            depth: 2,
            max_batch: 4,
            reply_bytes,
        };
        let (submitter, completions, fds) = create_link(&config).unwrap();
        let reader = arena.reader_fd().try_clone_to_owned().unwrap();
        let inherited = [fds.link.as_fd(), reader.as_fd(), fds.wake.as_fd()];
        let numbers = inherited.map(|fd| {
            fcntl_setfd(fd, FdFlags::empty()).unwrap();
            fd.as_raw_fd().to_string()
        });
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "play_role"])
            .env(ROLE, format!("{role} {}", numbers.join(" ")))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            arena,
            submitter,
            completions,
            child,
            link: fds.link,
        }
    }

    pub(crate) fn record(&self, id: &str, inputs: &[InputRef<'_>]) -> (Block, JobRef) {
        let writer = RequestWriter {
            id,
            headers: &[("name", "value")],
            inputs,
        };
        let mut block = self.arena.allocate(writer.encoded_len()).unwrap();
        writer.write(&mut block);
        let job = JobRef {
            offset: block.offset(),
            len: u32::try_from(block.len()).unwrap(),
        };
        (block, job)
    }

    pub(crate) fn completion(&mut self) -> Completion {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(completion) = self.completions.poll().unwrap() {
                return completion;
            }
            assert!(Instant::now() < deadline, "a wake-up was lost");
            assert!(!self.has_ended(), "the worker has died");
            self.completions.wait(Some(PATIENCE));
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the worker still runs");
            std::thread::yield_now();
        }
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Bytes of memory behind the arena and the link.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let blocks = |fd: &dyn AsFd| rustix::fs::fstat(fd.as_fd()).unwrap().st_blocks;
        let arena = self.arena.reader_fd();
        u64::try_from(blocks(&self.link) + blocks(&arena)).unwrap() * 512
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The role of this process, its end of the link, and the link's file.
pub(crate) fn inherited() -> Option<(String, WorkerLink, File)> {
    let role = std::env::var(ROLE).ok()?;
    let mut words = role.split(' ');
    let name = words.next()?.to_owned();
    let fds: Vec<RawFd> = words.map(|number| number.parse().unwrap()).collect();
    let [link, arena, wake] = fds.try_into().unwrap();
    let link = adopt_fd(link).unwrap();
    let raw = File::from(link.try_clone().unwrap());
    let link = WorkerLink::open(link, adopt_fd(arena).unwrap(), adopt_fd(wake).unwrap());
    Some((name, link.unwrap(), raw))
}

pub(crate) fn item(index: u32, body: &[u8]) -> ReplyItemRef<'_> {
    ReplyItemRef {
        index,
        status: 200,
        phrase: None,
        headers: &[],
        body,
    }
}

pub(crate) fn input(value: ValueRef<'_>) -> InputRef<'_> {
    InputRef {
        name: "body",
        content_type: "",
        value,
    }
}
