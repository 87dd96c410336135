//! Sockets of all protocols: binding, accepting, TLS. Knows no protocol.

mod reset;
mod tls;

pub use self::reset::Reset;
pub use self::tls::{TlsError, acceptor, is_handshake};

use std::io;
use std::net::ToSocketAddrs;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Pause after a failed accept: without file descriptors the next one would fail as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a listener could not be opened.
#[derive(Debug, Error)]
pub enum BindError {
    /// The address is taken, not ours, or not allowed.
    #[error("Failed to bind to address: {address}: {source}")]
    Address {
        /// The address as configured.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The key material of a TLS listener is unusable.
    #[error("Failed to bind to address: {address}: {source}")]
    Tls {
        /// The address as configured.
        address: String,
        /// What is wrong.
        source: TlsError,
    },
}

/// A listener at the first address of a host that can be had. Has to be called inside a tokio
/// runtime.
///
/// # Errors
/// The reason why the last address could not be had.
pub fn open_tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        let opened = (|| {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(socket)
        })();
        match opened {
            Ok(socket) => return TcpListener::from_std(socket.into()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Sets the options of an accepted connection.
pub fn tune(stream: &TcpStream) {
    // Both options only make things better; a connection works without them.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// The next connection of a listener; `None` when it is to stop.
pub async fn next<T, F>(stopping: &mut watch::Receiver<bool>, accept: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stops| *stops) => return None,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok(connection) => return Some(connection),
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let taken = open_tcp("127.0.0.1", 0).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = BindError::Address {
            address: format!("http://127.0.0.1:{port}"),
            source: open_tcp("127.0.0.1", port).unwrap_err(),
        };
        let expected = format!("Failed to bind to address: http://127.0.0.1:{port}: ");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}
