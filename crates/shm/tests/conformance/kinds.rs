//! The kinds of memory that the suite runs over.

use tserve_shm::{
    Arena, ArenaLimits, Block, Completions, JobRef, LinkConfig, Submitter, WorkerLink, local,
    wire::{InputRef, RequestWriter},
};

/// Both ends of a link, and the arena of its requests.
pub(crate) struct Ends {
    pub(crate) arena: Arena,
    pub(crate) submitter: Submitter,
    pub(crate) completions: Completions,
    pub(crate) worker: WorkerLink,
}

/// A way to make arenas and links.
pub(crate) trait Kind {
    fn arena(capacity_bytes: u64) -> Arena;
    fn ends(arena: &Arena, config: &LinkConfig) -> (Submitter, Completions, WorkerLink);

    fn make(config: &LinkConfig) -> Ends {
        let arena = Self::arena(1 << 20);
        let (submitter, completions, worker) = Self::ends(&arena, config);
        Ends {
            arena,
            submitter,
            completions,
            worker,
        }
    }
}

/// Memory files, futex and eventfd, as between processes.
#[cfg(not(miri))]
pub(crate) struct Segment;

#[cfg(not(miri))]
impl Kind for Segment {
    fn arena(capacity_bytes: u64) -> Arena {
        Arena::new(&ArenaLimits { capacity_bytes }).unwrap()
    }

    fn ends(arena: &Arena, config: &LinkConfig) -> (Submitter, Completions, WorkerLink) {
        let (submitter, completions, fds) = tserve_shm::create_link(config).unwrap();
        let reader = arena.reader_fd().try_clone_to_owned().unwrap();
        let worker = WorkerLink::open(fds.link, reader, fds.wake).unwrap();
        (submitter, completions, worker)
    }
}

/// Heap memory and in-process wake-ups.
pub(crate) struct Local;

impl Kind for Local {
    fn arena(capacity_bytes: u64) -> Arena {
        local::arena(&ArenaLimits { capacity_bytes }).unwrap()
    }

    fn ends(arena: &Arena, config: &LinkConfig) -> (Submitter, Completions, WorkerLink) {
        local::create_link(config, arena).unwrap()
    }
}

/// Writes a request record into an arena.
pub(crate) fn record(arena: &Arena, id: &str, inputs: &[InputRef<'_>]) -> (Block, JobRef) {
    let writer = RequestWriter {
        id,
        headers: &[],
        inputs,
    };
    let mut block = arena.allocate(writer.encoded_len()).unwrap();
    writer.write(&mut block);
    let job = JobRef {
        offset: block.offset(),
        len: u32::try_from(block.len()).unwrap(),
    };
    (block, job)
}

/// Makes one module of tests per kind out of generic functions.
macro_rules! over_every_kind {
    ($($name:ident),* $(,)?) => {
        #[cfg(not(miri))]
        mod segment {
            $(#[test] fn $name() { super::$name::<$crate::kinds::Segment>(); })*
        }
        mod local {
            $(#[test] fn $name() { super::$name::<$crate::kinds::Local>(); })*
        }
    };
}
pub(crate) use over_every_kind;
