//! The two listeners: binding, accepting, ending.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Api;
use super::call::Door;
use super::connection::{self, Age};
use super::intake::Memory;
use crate::config::{Config, GrpcListener};
use crate::ingress::{self, BindError};
use crate::service::Services;

/// What TLS clients have to agree on (RFC 7540 §3.3).
const PROTOCOL: &[u8] = b"h2";
/// Longest wait for the first byte of a connection, and for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Both gRPC listeners, bound and not yet serving.
pub struct Listeners {
    list: [Listener; 2],
}

struct Listener {
    api: Api,
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    age: Age,
}

/// Binds the listeners that the configuration asks for. Has to be called inside a tokio runtime.
///
/// # Errors
/// [`BindError`], with the address as configured.
pub fn bind(config: &Config) -> Result<Listeners, BindError> {
    Ok(Listeners {
        list: [
            Listener::open(Api::Inference, &config.grpc_inference, config)?,
            Listener::open(Api::Management, &config.grpc_management, config)?,
        ],
    })
}

impl Listeners {
    /// The addresses that were really bound: inference, management.
    pub fn addresses(&self) -> [Option<SocketAddr>; 2] {
        [0, 1].map(|at| self.list[at].socket.local_addr().ok())
    }

    /// Serves until `shutdown` becomes true (or its sender is gone) and all calls are done.
    pub async fn serve(self, services: Services, shutdown: watch::Receiver<bool>) {
        // Connections hold senders; when the last is gone, all are done.
        let (alive, mut all_done) = mpsc::channel::<Infallible>(1);
        let memory = Memory::new(services.config.max_request_size);
        let mut tasks = JoinSet::new();
        for listener in self.list {
            tracing::info!("{} API bind to: {listener}", listener.api.name());
            let door = Door::new(
                listener.api,
                services.clone(),
                memory.clone(),
                shutdown.clone(),
            );
            let acceptor = Acceptor {
                door: Arc::new(door),
                tls: listener.tls,
                age: listener.age,
                shutdown: shutdown.clone(),
                alive: alive.clone(),
            };
            tasks.spawn(acceptor.accept(listener.socket));
        }
        drop(alive);
        while tasks.join_next().await.is_some() {}
        let _: Option<Infallible> = all_done.recv().await;
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.list.iter().map(ToString::to_string);
        formatter.debug_list().entries(addresses).finish()
    }
}

impl Listener {
    fn open(api: Api, wanted: &GrpcListener, config: &Config) -> Result<Self, BindError> {
        let scheme = scheme(config.grpc_tls);
        let address = if wanted.host.contains(':') {
            format!("{scheme}://[{}]:{}", wanted.host, wanted.port)
        } else {
            format!("{scheme}://{}:{}", wanted.host, wanted.port)
        };
        let tls = if config.grpc_tls {
            let acceptor = ingress::acceptor(&config.tls, &wanted.host, &[PROTOCOL]);
            Some(acceptor.map_err(|source| BindError::Tls {
                address: address.clone(),
                source,
            })?)
        } else {
            None
        };
        let socket = ingress::open_tcp(&wanted.host, wanted.port)
            .map_err(|source| BindError::Address { address, source })?;
        Ok(Self {
            api,
            socket,
            tls,
            age: Age {
                limit: wanted.max_connection_age,
                grace: wanted.max_connection_age_grace,
            },
        })
    }
}

impl fmt::Display for Listener {
    /// The address that was really bound.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = scheme(self.tls.is_some());
        match self.socket.local_addr() {
            Ok(address) => write!(formatter, "{scheme}://{address}"),
            Err(_) => formatter.write_str(scheme),
        }
    }
}

fn scheme(is_tls: bool) -> &'static str {
    if is_tls { "grpcs" } else { "grpc" }
}

/// Accepts the connections of one listener.
struct Acceptor {
    door: Arc<Door>,
    tls: Option<TlsAcceptor>,
    age: Age,
    shutdown: watch::Receiver<bool>,
    alive: mpsc::Sender<Infallible>,
}

impl Acceptor {
    async fn accept(self, socket: TcpListener) {
        let mut stopping = self.shutdown.clone();
        while let Some((stream, peer)) = ingress::next(&mut stopping, || socket.accept()).await {
            ingress::tune(&stream);
            let (door, shutdown) = (Arc::clone(&self.door), self.shutdown.clone());
            let (tls, age, alive) = (self.tls.clone(), self.age, self.alive.clone());
            tokio::spawn(async move {
                greet(stream, peer, tls, age, door, shutdown).await;
                drop(alive);
            });
        }
    }
}

/// Waits for the client's first word, then serves it.
async fn greet(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    age: Age,
    door: Arc<Door>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut first = [0];
    let spoken = tokio::select! {
        _ = shutdown.wait_for(|stops| *stops) => return,
        spoken = tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)) => spoken,
    };
    if !matches!(spoken, Ok(Ok(1))) {
        return;
    }
    let remote: Arc<str> = format!("/{peer}").into();
    let Some(acceptor) = tls else {
        return connection::serve(stream, remote, age, door, shutdown).await;
    };
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => connection::serve(stream, remote, age, door, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
    }
}
