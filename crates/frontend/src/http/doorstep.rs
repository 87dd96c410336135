//! Connections that come while the server is still starting: probes are answered, others wait.
//!
//! TorchServe opens its ports when the models named at start are registered, and clients rely on
//! finding them then. Here the ports are open from the beginning, so that probes can tell a server
//! that is unpacking from one that is gone. Whoever asks for anything else waits as if the port
//! were slow.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::sync::watch;

use crate::service::Services;

/// Beginnings of the requests that are answered at once.
const PROBES: [&[u8]; 6] = [
    b"GET /livez",
    b"GET /readyz",
    b"GET /startupz",
    b"HEAD /livez",
    b"HEAD /readyz",
    b"HEAD /startupz",
];

/// How often a silent client is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Lets a connection in: at once when the server is open or the client is a probe. `false` when it
/// is not to be served, because the server stops or the client has gone.
pub(super) async fn enter(
    stream: &impl AsFd,
    services: &Services,
    shutdown: &watch::Receiver<bool>,
) -> bool {
    let mut is_open = services.is_open();
    if *is_open.borrow() {
        return true;
    }
    let mut shutdown = shutdown.clone();
    loop {
        match look(stream) {
            Visitor::Probe => return true,
            Visitor::Gone => return false,
            Visitor::Silent | Visitor::Other => {}
        }
        tokio::select! {
            opened = is_open.wait_for(|it| *it) => return opened.is_ok(),
            _ = shutdown.wait_for(|it| *it) => return false,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Who has connected.
#[derive(Debug, PartialEq, Eq)]
enum Visitor {
    /// Has not said enough yet.
    Silent,
    Probe,
    Other,
    Gone,
}

/// Looks at what has been sent, without taking it.
fn look(stream: &impl AsFd) -> Visitor {
    let mut bytes = [0_u8; 32];
    match recv(
        stream,
        &mut bytes[..],
        RecvFlags::PEEK | RecvFlags::DONTWAIT,
    ) {
        Ok((_, 0)) => Visitor::Gone,
        Ok((_, count)) => who(&bytes[..count.min(bytes.len())]),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Visitor::Silent,
        Err(_) => Visitor::Gone,
    }
}

fn who(bytes: &[u8]) -> Visitor {
    let mut visitor = Visitor::Other;
    for probe in PROBES {
        match bytes.strip_prefix(probe).map(<[u8]>::first) {
            Some(Some(b' ' | b'?')) => return Visitor::Probe,
            Some(None) => visitor = Visitor::Silent,
            None if probe.starts_with(bytes) => visitor = Visitor::Silent,
            Some(Some(_)) | None => {}
        }
    }
    visitor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Connector;
    use crate::http::routes;
    use crate::http::target::Target;

    #[test]
    fn probes_are_told_from_everything_else() {
        for (text, expected) in [
            ("GET /livez HTTP/1.1\r\n", Visitor::Probe),
            ("GET /readyz?model=m HTTP/1.1", Visitor::Probe),
            ("HEAD /startupz HTTP/1.1", Visitor::Probe),
            ("GET /livez", Visitor::Silent),
            ("GET /", Visitor::Silent),
            ("", Visitor::Silent),
            ("GET /livezz HTTP/1.1", Visitor::Other),
            ("GET /ping HTTP/1.1", Visitor::Other),
            ("POST /readyz HTTP/1.1", Visitor::Other),
        ] {
            assert_eq!(who(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn every_probe_is_a_route_of_every_listener() {
        for probe in PROBES {
            let line = std::str::from_utf8(probe).unwrap();
            let (method, path) = line.split_once(' ').unwrap();
            let target = Target::parse(path).unwrap();
            assert!(
                routes::find(Connector::METRICS, method, target.path()).is_ok(),
                "{line}"
            );
        }
    }
}
