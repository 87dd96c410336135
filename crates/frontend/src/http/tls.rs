//! The answer to plain HTTP on a TLS port.

use super::response::Response;

/// What a client hears that speaks plain HTTP to a TLS port.
pub(super) fn plain_text_refusal() -> Response {
    Response::status_text(403, "This TorchServe instance only accepts HTTPS requests")
}
