//! The module's exceptions, and which Rust error becomes which.

use pyo3::{
    create_exception,
    exceptions::{
        PyBrokenPipeError, PyConnectionError, PyOSError, PyOverflowError, PyRuntimeError,
    },
    prelude::*,
};
use tserve_shm::{OpenError, ReceiveError, ReplyError, wire::Malformed};

create_exception!(
    tserve_worker._native,
    ReplyTooLarge,
    PyOverflowError,
    "A reply cannot fit into the reply area, even when that is empty; nothing was sent."
);
create_exception!(
    tserve_worker._native,
    LinkClosed,
    PyConnectionError,
    "The server does not listen on this link any more; nothing was sent."
);

/// The exception for a link that cannot be opened.
pub(crate) fn open_failed(error: OpenError) -> PyErr {
    match error {
        OpenError::Map(error) => PyOSError::new_err(error),
        layout @ OpenError::Layout(_) => PyRuntimeError::new_err(layout.to_string()),
    }
}

/// The exception for a link that delivers nothing sound.
pub(crate) fn receive_failed(error: ReceiveError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// The exception for a request that the server wrote wrongly.
pub(crate) fn malformed(error: Malformed) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// The exception for a reply that was not sent.
pub(crate) fn reply_failed(error: ReplyError) -> PyErr {
    match error {
        ReplyError::TooLarge { .. } => ReplyTooLarge::new_err(error.to_string()),
        ReplyError::Abandoned => PyBrokenPipeError::new_err(error.to_string()),
        ReplyError::Closed => LinkClosed::new_err(error.to_string()),
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}
