//! Sealed, sparse memory files.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};

/// Makes a memory file of `len` bytes whose size nobody can change any more.
///
/// A fixed size means that no access inside the mapping can ever fault, whatever the other side does
/// to the file.
pub(crate) fn create(name: &str, len: u64) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know NOEXEC_SEAL; newer ones log a warning when it is missing.
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    }?;
    rustix::fs::ftruncate(&fd, len)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// Opens a memory file once more, for reading only; such a descriptor can never be mapped writable.
///
/// `F_SEAL_FUTURE_WRITE` would bind a worker more tightly, but it also forbids the server to punch
/// holes (the kernel answers EPERM), so that a large body's pages could never be given back. The
/// mode of the file makes an accidental reopening for writing fail as well, unless it is root's.
pub(crate) fn reopen_read_only(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    rustix::fs::fchmod(fd, Mode::RUSR)?;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Gives the pages of a span back to the system; they read as zeros afterwards.
///
/// Both ends of the span must be page-aligned. A refusal is harmless: the pages stay warm.
pub(crate) fn punch(fd: &impl AsFd, offset: u64, len: u64) -> bool {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(fd, mode, offset, len).is_ok()
}

/// Size of an open file in bytes.
pub(crate) fn size(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0))
}
