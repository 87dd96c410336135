//! A stream whose first bytes have been read already.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::connection::Prelude;

/// Gives back what was read before anything else.
pub(super) struct Prefixed<S> {
    stream: S,
    prefix: Vec<u8>,
    /// How much of the prefix has been given back.
    given: usize,
}

impl<S> Prefixed<S> {
    /// The whole of a connection that was looked into.
    pub(super) fn new(prelude: Prelude<S>) -> Self {
        Self {
            stream: prelude.stream,
            prefix: prelude.read,
            given: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.prefix[self.given..];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, target);
        }
        let count = left.len().min(target.remaining());
        target.put_slice(&left[..count]);
        self.given += count;
        if self.given == self.prefix.len() {
            self.prefix = Vec::new();
            self.given = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn nothing_is_lost_between_what_was_read_and_the_rest() {
        let (near, far) = tokio::io::duplex(64);
        let mut whole = Prefixed::new(Prelude {
            stream: near,
            read: b"abcde".to_vec(),
        });
        tokio::io::AsyncWriteExt::write_all(&mut { far }, b"fgh")
            .await
            .unwrap();
        let mut text = [0; 8];
        for piece in text.chunks_mut(3) {
            whole.read_exact(piece).await.unwrap();
        }
        assert_eq!(&text, b"abcdefgh");
        assert_eq!(whole.read(&mut text).await.unwrap(), 0);
    }
}
