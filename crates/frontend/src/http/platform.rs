//! Paths that exist for a hosting platform only.
//!
//! # Source
//!
//! Amazon `SageMaker`, "Use your own inference code"; Vertex AI, "Custom container requirements".

use super::answer::{Answer, Surface};
use super::inference;
use super::response::Response;
use super::routes::{self, Api, BodyUse, Call, Captures, Method, Payload, Route};
use crate::config::Platform;
use crate::error::Error;

static EXECUTION_PARAMETERS: Route = Route {
    api: Api::Inference,
    method: Method::Only("GET"),
    path: &[],
    body: BodyUse::Ignored,
    handler: execution_parameters,
    documentation: None,
};
static HEALTH: Route = Route {
    api: Api::Every,
    method: Method::Only("GET"),
    path: &[],
    body: BodyUse::Ignored,
    handler: inference::ready,
    documentation: None,
};
static PREDICT: Route = Route {
    api: Api::Inference,
    method: Method::Only("POST"),
    path: &[],
    body: BodyUse::ModelInput,
    handler: inference::kserve_predict,
    documentation: None,
};

/// Finds the row for a request: in the table, or else among the paths of the platform.
///
/// # Errors
/// As [`routes::find`].
pub(super) fn find<'a>(
    surface: &Surface,
    method: &str,
    path: Option<&'a str>,
) -> Result<(&'static Route, Captures<'a>), Error> {
    routes::find(surface.connector, method, path).or_else(|error| {
        let route = path.and_then(|path| route(surface, path)).ok_or(error)?;
        match route.method {
            Method::Only(only) if only != method => Err(Error::MethodNotAllowed),
            _ => Ok((route, Captures::default())),
        }
    })
}

fn route(surface: &Surface, path: &str) -> Option<&'static Route> {
    if !surface.connector.inference {
        return None;
    }
    match &surface.services.config.platform {
        Platform::None => None,
        Platform::SageMaker => (path == "execution-parameters").then_some(&EXECUTION_PARAMETERS),
        Platform::Vertex { health, predict } => {
            if health.as_deref() == Some(path) {
                Some(&HEALTH)
            } else {
                (predict.as_deref() == Some(path)).then_some(&PREDICT)
            }
        }
    }
}

/// `/execution-parameters`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
fn execution_parameters(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let parameters = call.surface.services.inference.execution_parameters();
    Ok(Answer::Now(Response::json(200, &parameters)))
}
