//! Taking over descriptors whose numbers came on the command line.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Takes over a descriptor that this process has inherited, and keeps its own children from
/// inheriting it in turn.
///
/// The caller must have the number from whoever started the process, for this use, and must use it
/// no more: a wrong number closes somebody else's file in the end.
///
/// # Errors
///
/// When no such descriptor is open.
#[expect(unsafe_code, reason = "a number becomes an owned descriptor")]
pub fn adopt_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the borrow ends with this statement, and the number is checked by using it.
    mark_close_on_exec(unsafe { borrow(number)? })?;
    // SAFETY: it is open, as was just seen, and the parent process dedicated it to this caller.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Duplicates an inherited descriptor that stays somebody else's.
///
/// # Errors
///
/// When no such descriptor is open, or no more can be opened.
#[expect(unsafe_code, reason = "a number becomes a borrowed descriptor")]
pub fn duplicate_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the borrow ends with this statement, and the number is checked by using it.
    unsafe { borrow(number)? }.try_clone_to_owned()
}

/// # Safety
///
/// The result must not outlive the descriptor.
#[expect(unsafe_code, reason = "a number becomes a borrowed descriptor")]
unsafe fn borrow<'fd>(number: RawFd) -> io::Result<BorrowedFd<'fd>> {
    if number < 0 {
        return Err(io::Error::from(rustix::io::Errno::BADF));
    }
    // SAFETY: not -1; using a closed number is an error of the kernel's, not undefined behaviour.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

fn mark_close_on_exec(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::io::fcntl_getfd(&fd)?;
    rustix::io::fcntl_setfd(&fd, flags | rustix::io::FdFlags::CLOEXEC)?;
    Ok(())
}
