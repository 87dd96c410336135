//! gRPC: thin adapters from HTTP/2 calls to the services and back. No rules.
//!
//! [`bind`] opens the two listeners of a configuration, [`Listeners::serve`] serves them. A call goes
//! `listener` → `connection` → `call` (token, deadline, route; its request is read through `intake`)
//! → `inference`, `open_inference`, `management`, `health` or reflection → the services, and its answer back through
//! `answer`. Framing and HTTP/2 are hyper's, messages and trailers tonic's.

mod answer;
mod call;
mod connection;
mod contents;
mod health;
mod inference;
mod intake;
mod listener;
mod management;
mod open_inference;
mod routes;
mod sequences;
mod status;

pub use self::listener::{Listeners, bind};

/// Which API a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    Inference,
    Management,
}

impl Api {
    /// The name for the log.
    fn name(self) -> &'static str {
        match self {
            Self::Inference => "Inference",
            Self::Management => "Management",
        }
    }
}
