//! Connections whose close can tell the peer that something went wrong.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connection that may have to end in the middle of a message.
pub trait Reset {
    /// Makes the coming close a reset, where there is such a thing.
    fn reset_on_close(&self);
}

impl Reset for TcpStream {
    fn reset_on_close(&self) {
        // Without the option the close is an ordinary one.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Reset for UnixStream {
    fn reset_on_close(&self) {}
}

impl<S> Reset for TlsStream<S> {
    /// A TLS connection that ends without a closing alert is a broken one anyway.
    fn reset_on_close(&self) {}
}

#[cfg(test)]
impl Reset for tokio::io::DuplexStream {
    fn reset_on_close(&self) {}
}
