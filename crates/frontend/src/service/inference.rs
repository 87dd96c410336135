//! Predictions: admission, encoding into shared memory, and the reply that follows.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tserve_shm::Block;

use super::ServedModel;
use crate::error::Error;

/// One named input of a request.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// Name under which the handler finds it.
    pub name: &'a str,
    /// Content type without parameters, as it was sent; empty when there is none.
    pub content_type: &'a str,
    /// Its bytes.
    pub value: Value<'a>,
}

/// The bytes of one input.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// Bytes in the adapter's own memory (decoded form fields, query parameters).
    Inline(&'a [u8]),
    /// A range of the request's [`Body`].
    Body(Range<usize>),
}

/// A request body, wherever the adapter read it to.
#[derive(Debug)]
pub enum Body {
    /// No body, or one whose bytes all stand in the inputs.
    None,
    /// In the server's heap; small, or of unknown length while it was read.
    Heap(Bytes),
    /// Already in the model's request arena (see [`InferenceService::body_block`]).
    Arena(Block),
}

/// One request, neutral of protocols. Everything borrowed is copied when it is submitted.
#[derive(Debug)]
pub struct InferenceRequest<'a> {
    /// The version that serves it.
    pub model: Arc<ServedModel>,
    /// The version as the client named it, for texts.
    pub requested_version: Option<&'a str>,
    /// Request id: a UUID, seen by the handler and sent back as `x-request-id`.
    pub id: &'a str,
    /// Header names and values as the client spelled them, plus what the route adds; in order,
    /// later ones win.
    pub headers: &'a [(&'a str, &'a str)],
    /// Named inputs, in order; later ones win.
    pub inputs: &'a [Input<'a>],
    /// The body that inputs refer to.
    pub body: Body,
}

/// A successful answer (its status may still be the handler's own 4xx or 5xx).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceReply {
    /// HTTP-like status chosen by the handler, 200 by default.
    pub status: u16,
    /// Reason phrase; `None` when the handler set none.
    pub phrase: Option<String>,
    /// Response headers set by the handler, `content-type` among them.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Bytes,
}

/// An admitted request. Await [`PendingReply::wait`]; dropping it cancels the request: if no worker
/// has started it, none will.
#[derive(Debug)]
pub struct PendingReply {
    _private: (),
}

impl PendingReply {
    /// Waits for the one answer this request gets. Cancel safe: may be polled in a `select!` loop.
    pub async fn wait(&mut self) -> Result<InferenceReply, Error> {
        todo!()
    }
}

/// Predictions on registered models.
#[derive(Debug, Clone)]
pub struct InferenceService {
    _private: (),
}

impl InferenceService {
    /// Finds the version that serves a request; `None` means the default version.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`], [`Error::VersionNotFound`].
    pub fn lookup(&self, _model: &str, _version: Option<&str>) -> Result<Arc<ServedModel>, Error> {
        todo!()
    }

    /// The model that `/invocations` goes to when the request names none: the only one loaded at
    /// start, if it is still registered.
    pub fn startup_model(&self) -> Option<String> {
        todo!()
    }

    /// Room for a body of exactly `len` bytes in the model's arena, to read the socket into.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the arena is full: the client may retry.
    pub fn body_block(&self, _model: &ServedModel, _len: usize) -> Result<Block, Error> {
        todo!()
    }

    /// Admits a request into the model's queue.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the model has no worker, the queue is full or the arena is full.
    pub fn submit(&self, _request: InferenceRequest<'_>) -> Result<PendingReply, Error> {
        todo!()
    }
}
