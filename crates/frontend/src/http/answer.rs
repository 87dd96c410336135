//! What handlers get and give: the services behind a listener, and the kinds of answers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::Connector;
use super::response::Response;
use crate::service::{Asked, PendingReply, Services};

/// What one listener offers.
#[derive(Debug, Clone)]
pub(super) struct Surface {
    /// Which APIs it serves.
    pub(super) connector: Connector,
    /// The rules.
    pub(super) services: Services,
}

/// How a request will be answered. Nothing in it borrows from the request.
pub(super) enum Answer {
    /// At once.
    Now(Response),
    /// With a model's reply. Dropping it cancels the request.
    Reply(PendingReply),
    /// With the tensors in a model's reply.
    Tensors(PendingReply, Box<Asked>),
    /// When an operation is done. It goes on even when the client leaves.
    Later(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl Answer {
    /// An answer that takes time.
    pub(super) fn later(work: impl Future<Output = Response> + Send + 'static) -> Self {
        Self::Later(Box::pin(work))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(response) => formatter.debug_tuple("Now").field(response).finish(),
            Self::Reply(reply) => formatter.debug_tuple("Reply").field(reply).finish(),
            Self::Tensors(reply, asked) => formatter
                .debug_tuple("Tensors")
                .field(reply)
                .field(asked)
                .finish(),
            Self::Later(_) => formatter.write_str("Later"),
        }
    }
}
