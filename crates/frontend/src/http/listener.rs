//! Sockets: binding, accepting, ending.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Connector;
use super::answer::Surface;
use super::connection;
use super::doorstep;
use super::exchange::Door;
use super::http2;
use super::limits::Limits;
use super::response::{CorsHeaders, Response};
use super::wire::Wire;
use crate::config::{Address, BoundAddresses, Config};
use crate::ingress::{self, BindError, Reset};
use crate::service::Services;

/// What TLS clients may agree on, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// What the access log shows for a peer without an address.
const LOCAL_PEER: &str = "127.0.0.1";

/// All REST listeners, bound and not yet serving.
#[derive(Debug)]
pub struct Listeners {
    list: Vec<Listener>,
    limits: Limits,
}

#[derive(Debug)]
struct Listener {
    connector: Connector,
    socket: ListeningSocket,
    tls: Option<Tls>,
}

/// A TLS acceptor that can be shown.
#[derive(Clone)]
struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tls")
    }
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket; removed when this is dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nobody can be told when a file of ours has gone already.
        let _ = fs::remove_file(&self.0);
    }
}

/// Binds every listener that the configuration asks for. APIs on the same address share one
/// listener, unless the port is 0, which means "another one" each time. Has to be called inside a
/// tokio runtime.
///
/// # Errors
/// [`BindError`], with the address as configured.
pub fn bind(config: &Config) -> Result<Listeners, BindError> {
    let list = connectors(config)
        .into_iter()
        .map(|(address, connector)| Listener::open(address, connector, config))
        .collect::<Result<_, _>>()?;
    Ok(Listeners {
        list,
        limits: Limits::new(&config.patience),
    })
}

/// Every address with the APIs that are served there.
fn connectors(config: &Config) -> Vec<(&Address, Connector)> {
    let inference = Connector {
        open_inference: config.open_inference,
        ..Connector::INFERENCE
    };
    let mut wanted: Vec<(&Address, Connector)> = Vec::new();
    let apis = [
        (Some(&config.inference_address), inference),
        (Some(&config.management_address), Connector::MANAGEMENT),
        (config.metrics_address.as_ref(), Connector::METRICS),
    ];
    for (address, connector) in apis {
        let Some(address) = address else { continue };
        let is_any_port = matches!(address, Address::Tcp { port: 0, .. });
        let same = wanted.iter_mut().find(|(known, _)| *known == address);
        match same.filter(|_| !is_any_port) {
            Some((_, shared)) => *shared = shared.and(connector),
            None => wanted.push((address, connector)),
        }
    }
    for (_, connector) in &mut wanted {
        // As in the original, a listener for both shows the metrics too.
        connector.metrics |=
            connector.inference && connector.management && config.metrics_address.is_some();
    }
    wanted
}

impl Listeners {
    /// The same listeners with another patience.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The addresses that were really bound; `None` for unix sockets and absent listeners.
    pub fn addresses(&self) -> BoundAddresses {
        let address = |serves: fn(&Connector) -> bool| {
            let listener = self.list.iter().find(|one| serves(&one.connector))?;
            listener.local_address()
        };
        BoundAddresses {
            inference: address(|connector| connector.inference),
            management: address(|connector| connector.management),
            metrics: address(|connector| *connector == Connector::METRICS)
                .or_else(|| address(|connector| connector.metrics)),
        }
    }

    /// Serves until `shutdown` becomes true (or its sender is gone) and all connections are done:
    /// running requests finish, with `connection: close`; idle connections end at once.
    pub async fn serve(self, services: Services, shutdown: watch::Receiver<bool>) {
        // Connections hold senders; when the last is gone, all are done.
        let (alive, mut all_done) = mpsc::channel::<Infallible>(1);
        let mut tasks = JoinSet::new();
        for listener in self.list {
            tracing::info!(
                "{} API bind to: {}",
                listener.connector.name(),
                listener.address()
            );
            let door = Arc::new(Door {
                surface: Surface {
                    connector: listener.connector,
                    services: services.clone(),
                },
                cors: CorsHeaders::new(&services.config.cors),
                limits: self.limits,
                max_request_size: services.config.max_request_size,
            });
            let acceptor = Acceptor {
                door,
                tls: listener.tls,
                shutdown: shutdown.clone(),
                alive: alive.clone(),
            };
            match listener.socket {
                ListeningSocket::Tcp(socket) => {
                    tasks.spawn(acceptor.accept_tcp(socket));
                }
                ListeningSocket::Unix(socket, file) => {
                    tasks.spawn(acceptor.accept_unix(socket, file));
                }
            }
        }
        drop(alive);
        while tasks.join_next().await.is_some() {}
        let _: Option<Infallible> = all_done.recv().await;
    }
}

impl Listener {
    fn open(address: &Address, connector: Connector, config: &Config) -> Result<Self, BindError> {
        let failed = |source| BindError::Address {
            address: address.to_string(),
            source,
        };
        let (socket, tls) = match address {
            Address::Unix(path) => (open_unix(path).map_err(failed)?, None),
            Address::Tcp { host, port, tls } => {
                let tls = if *tls {
                    let acceptor = ingress::acceptor(&config.tls, host, &PROTOCOLS);
                    Some(Tls(acceptor.map_err(|source| BindError::Tls {
                        address: address.to_string(),
                        source,
                    })?))
                } else {
                    None
                };
                (
                    ListeningSocket::Tcp(ingress::open_tcp(host, *port).map_err(failed)?),
                    tls,
                )
            }
        };
        Ok(Self {
            connector,
            socket,
            tls,
        })
    }

    /// The address that was really bound, as a configuration would name it.
    fn address(&self) -> String {
        match &self.socket {
            ListeningSocket::Unix(_, file) => format!("unix:{}", file.0.display()),
            ListeningSocket::Tcp(socket) => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                let address = socket.local_addr();
                address.map_or_else(|_| scheme.to_owned(), |one| format!("{scheme}://{one}"))
            }
        }
    }

    fn local_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            ListeningSocket::Tcp(socket) => socket.local_addr().ok(),
            ListeningSocket::Unix(..) => None,
        }
    }
}

fn open_unix(path: &Path) -> io::Result<ListeningSocket> {
    remove_stale_socket(path)?;
    let socket = StdUnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    let file = SocketFile(path.to_owned());
    Ok(ListeningSocket::Unix(UnixListener::from_std(socket)?, file))
}

/// Removes the socket file of a server that is gone; anything else is left alone.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket
        && let Err(error) = StdUnixStream::connect(path)
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        return fs::remove_file(path);
    }
    Ok(())
}

/// Accepts connections of one listener.
struct Acceptor {
    door: Arc<Door>,
    tls: Option<Tls>,
    shutdown: watch::Receiver<bool>,
    alive: mpsc::Sender<Infallible>,
}

impl Acceptor {
    async fn accept_tcp(self, socket: TcpListener) {
        let mut stopping = self.shutdown.clone();
        while let Some((stream, peer)) = ingress::next(&mut stopping, || socket.accept()).await {
            self.spawn_tcp(stream, peer);
        }
    }

    async fn accept_unix(self, socket: UnixListener, _file: SocketFile) {
        let mut stopping = self.shutdown.clone();
        while let Some((stream, _)) = ingress::next(&mut stopping, || socket.accept()).await {
            let (door, shutdown) = (Arc::clone(&self.door), self.shutdown.clone());
            let alive = self.alive.clone();
            tokio::spawn(async move {
                if doorstep::enter(&stream, &door.surface.services, &shutdown).await {
                    serve(stream, door, LOCAL_PEER.into(), shutdown).await;
                }
                drop(alive);
            });
        }
    }

    fn spawn_tcp(&self, stream: TcpStream, peer: SocketAddr) {
        ingress::tune(&stream);
        let (door, shutdown) = (Arc::clone(&self.door), self.shutdown.clone());
        let (tls, alive) = (self.tls.clone(), self.alive.clone());
        let remote: Arc<str> = format!("/{peer}").into();
        tokio::spawn(async move {
            let may_enter = doorstep::enter(&stream, &door.surface.services, &shutdown).await;
            match tls {
                _ if !may_enter => {}
                None => serve(stream, door, remote, shutdown).await,
                Some(Tls(acceptor)) => {
                    serve_tls(stream, &acceptor, door, remote, shutdown).await;
                }
            }
            drop(alive);
        });
    }
}

/// Serves a connection in the version of HTTP that its client begins to speak.
async fn serve<S>(stream: S, door: Arc<Door>, remote: Arc<str>, shutdown: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Reset + Unpin + Send,
{
    let (again, from, stopping) = (Arc::clone(&door), Arc::clone(&remote), shutdown.clone());
    // In boxes: the one is so large that every move on the way to its task costs, and the other would
    // make it larger.
    if let Some(prelude) = Box::pin(connection::serve(stream, door, remote, shutdown)).await {
        Box::pin(http2::serve(prelude, again, from, stopping)).await;
    }
}

async fn serve_tls(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    door: Arc<Door>,
    remote: Arc<str>,
    shutdown: watch::Receiver<bool>,
) {
    let mut first = [0];
    let patience = door.limits.handshake;
    match tokio::time::timeout(patience, stream.peek(&mut first)).await {
        Ok(Ok(1)) if ingress::is_handshake(first[0]) => {}
        Ok(Ok(1)) if first[0].is_ascii_alphabetic() => {
            return refuse_plain_text(stream, &door).await;
        }
        _ => return,
    }
    match tokio::time::timeout(patience, acceptor.accept(stream)).await {
        // What was agreed on need not be asked for: a client of HTTP/2 begins with its preface.
        Ok(Ok(stream)) => serve(stream, door, remote, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
    }
}

/// What a client hears that speaks plain HTTP to a TLS port.
async fn refuse_plain_text(stream: TcpStream, door: &Door) {
    let response =
        Response::status_text(403, "This TorchServe instance only accepts HTTPS requests");
    let mut head = Vec::new();
    response.write_head(&mut head, None, &door.cors, true);
    let mut wire = Wire::new(stream, door.limits);
    if wire.write_all(&head, response.body()).await.is_ok() {
        wire.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apis_on_one_address_share_a_listener() {
        let of = |[inference, management, metrics]: [u16; 3]| {
            let at = |port| Address::Tcp {
                host: "127.0.0.1".to_owned(),
                port,
                tls: false,
            };
            let config = Config {
                inference_address: at(inference),
                management_address: at(management),
                metrics_address: Some(at(metrics)),
                ..Config::default()
            };
            let found = connectors(&config);
            let shown = |(_, it): &(_, Connector)| (it.inference, it.management, it.metrics);
            found.iter().map(shown).collect::<Vec<_>>()
        };
        let (yes, no) = (true, false);
        assert_eq!(of([1, 1, 1]), [(yes, yes, yes)]);
        assert_eq!(of([1, 1, 2]), [(yes, yes, yes), (no, no, yes)]);
        assert_eq!(of([1, 2, 2]), [(yes, no, no), (no, yes, yes)]);
        assert_eq!(of([1, 2, 1]), [(yes, no, yes), (no, yes, no)]);
        assert_eq!(of([0, 0, 0]).len(), 3);
    }

    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dropped listener leaves its file");
        let first = open_unix(&path).unwrap();
        assert!(open_unix(&path).is_err());
        drop(first);
        assert!(!path.exists());
        fs::write(&path, "not a socket").unwrap();
        assert!(open_unix(&path).is_err());
        assert!(path.exists());
    }
}
