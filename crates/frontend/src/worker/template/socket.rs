//! A socket of packets that carry descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::TemplateError;

/// Longest message of a template; it says numbers and short reasons.
const MAX_PACKET_BYTES: usize = 16 * 1024;

/// Most descriptors of one packet.
pub(super) const MAX_DESCRIPTORS: usize = 6;

/// The server's end.
#[derive(Debug)]
pub(super) struct PacketSocket(AsyncFd<OwnedFd>);

impl PacketSocket {
    /// A pair: the server's end, and the other one, which waits when it reads.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        fcntl_setfl(&ours, fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
        Ok((
            Self(watched(ours, Interest::READABLE | Interest::WRITABLE)?),
            theirs,
        ))
    }

    /// Sends a message and descriptors.
    pub(super) async fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[OwnedFd],
    ) -> Result<(), TemplateError> {
        let message = serde_json::to_vec(message).map_err(io::Error::from)?;
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(|it| it.as_fd()).collect();
        let sent = self.0.async_io(Interest::WRITABLE, |socket| {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
            }
            let message = [IoSlice::new(&message)];
            Ok(sendmsg(
                socket,
                &message,
                &mut control,
                SendFlags::NOSIGNAL,
            )?)
        });
        sent.await?;
        Ok(())
    }

    /// The next message, with the descriptor that it brings, if any. Cancel safe.
    pub(super) async fn receive<M: DeserializeOwned>(
        &self,
    ) -> Result<(M, Option<OwnedFd>), TemplateError> {
        let received = self.0.async_io(Interest::READABLE, |socket| {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut packet = vec![0; MAX_PACKET_BYTES];
            let room = &mut [IoSliceMut::new(&mut packet)];
            let length = recvmsg(socket, room, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
            packet.truncate(length);
            let mut descriptor = None;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(found) = message {
                    // Those that nobody asked for are closed.
                    descriptor = found.last().or(descriptor);
                }
            }
            Ok((packet, descriptor))
        });
        let (packet, descriptor) = received.await?;
        if packet.is_empty() {
            return Err(TemplateError::Ended);
        }
        let message = serde_json::from_slice(&packet);
        let message = message.map_err(|error| TemplateError::Malformed(error.to_string()))?;
        Ok((message, descriptor))
    }
}

/// A descriptor that the runtime watches.
#[expect(
    deprecated,
    reason = "the replacement is unsafe for types that may change their descriptor under the \
              reactor; an OwnedFd cannot, and this crate is free of unsafe code"
)]
pub(super) fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}
