//! The one table of REST routes: who answers which path on which listener, and how it is described.
//!
//! A route is one row here and its handler. Dispatch, the 405 answers and the API description all
//! come from the table. Order matters where patterns overlap: the first row that fits wins, as in
//! the original's chain of handlers.

use std::sync::Arc;

use crate::service::BodyBlock;

use super::answer::{Answer, Surface};
use super::documentation::{self as docs, Documentation, Kind, Parameter};
use super::head::HeadView;
use super::target::{Query, Target};
use super::{Connector, inference, loggers, management, metrics, open_inference};
use crate::error::Error;
use crate::service::{Client, Identity, ServedModel};

/// Which of the APIs a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    /// All of them.
    Every,
    /// Inference and management.
    Models,
    /// Predictions and health.
    Inference,
    /// The Open Inference Protocol, where it is switched on.
    OpenInference,
    /// Paths of the inference listener that exist for nobody.
    Nowhere,
    /// Registering, scaling, describing.
    Management,
    /// New keys.
    Tokens,
    /// Prometheus metrics.
    Metrics,
}

/// One element of a path pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    /// Exactly this word.
    Word(&'static str),
    /// A model name.
    Model,
    /// A model name with a verb: everything before the first `:` is the name, and the rest holds
    /// the verb somewhere (`m:predictxyz` predicts, as in the original).
    ModelVerb(&'static str),
    /// A model name of which everything from the first `:` on is dropped.
    ModelBeforeColon,
    /// A version.
    Version,
    /// One or more further parts, handed on.
    Rest,
    /// Any number of further parts, ignored.
    Anything,
}

/// Which methods a row answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Every method, even unknown ones: the original does not look.
    Any,
    /// This one.
    Only(&'static str),
}

/// What the handler of a row does with a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyUse {
    /// It is read and forgotten.
    Ignored,
    /// It is read into the server's memory.
    Read,
    /// It is the input of a model: a large one goes straight into the model's memory.
    ModelInput,
    /// The same, and it may be a request of the Open Inference Protocol.
    Tensors,
}

/// Answers one request with this body.
pub(super) type Handler = fn(&Call<'_>, Payload<'_>) -> Result<Answer, Error>;

/// One route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) api: Api,
    pub(super) method: Method,
    pub(super) path: &'static [Segment],
    pub(super) body: BodyUse,
    pub(super) handler: Handler,
    pub(super) documentation: Option<&'static Documentation>,
}

/// The parts of a path that a pattern names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Captures<'a> {
    /// Model name.
    pub(super) model: Option<&'a str>,
    /// Model version.
    pub(super) version: Option<&'a str>,
    /// What follows the version.
    pub(super) rest: &'a str,
}

/// A request body that has been read.
#[derive(Debug)]
pub(super) enum Payload<'a> {
    /// In the connection's memory.
    Bytes(&'a [u8]),
    /// Already in the memory of the model that was looked up for it.
    Arena {
        /// The model.
        model: Arc<ServedModel>,
        /// The bytes.
        block: BodyBlock,
    },
}

impl Payload<'_> {
    /// The bytes, wherever they are.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Arena { block, .. } => block,
        }
    }
}

/// Everything a handler may look at, but the body. Nothing of it outlives the call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The listener and what is behind it.
    pub(super) surface: &'a Surface,
    /// Method, target and headers.
    pub(super) head: HeadView<'a>,
    /// The decoded target.
    pub(super) target: &'a Target<'a>,
    /// Parts of the path.
    pub(super) captures: Captures<'a>,
    /// Who it is.
    pub(super) identity: &'a Identity,
    /// The row that fits.
    pub(super) route: &'static Route,
    /// Its connection, where that may bring requests for models.
    pub(super) client: Option<&'a Client>,
}

impl<'a> Call<'a> {
    /// The parameters of the query that the route documents.
    ///
    /// # Errors
    /// A query that does not decode.
    pub(super) fn query(&self) -> Result<Parameters<'a>, Error> {
        Parameters::read(self.route.documentation, self.target)
    }
}

/// The query of a request, as far as the API description knows it: reading a parameter that is
/// not listed there fails in the tests, so that the two cannot drift apart.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    query: Query<'a>,
    /// `None` for rows that are not described, on purpose.
    documented: Option<&'static [Parameter]>,
}

impl<'a> Parameters<'a> {
    fn read(
        documentation: Option<&'static Documentation>,
        target: &'a Target<'_>,
    ) -> Result<Self, Error> {
        Ok(Self {
            query: target.query()?,
            documented: documentation.map(|it| it.parameters),
        })
    }

    #[cfg(test)]
    pub(super) fn of(
        documentation: &'static Documentation,
        target: &'a Target<'_>,
    ) -> Result<Self, Error> {
        Self::read(Some(documentation), target)
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.check(name, |kind| matches!(kind, Kind::Text | Kind::Choice(_)));
        self.query.first(name)
    }

    /// A number; `None` if it is none.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        // A page token is a text that happens to be a number.
        self.check(name, |kind| matches!(kind, Kind::Number(_) | Kind::Text));
        self.query.integer(name)
    }

    /// A flag.
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.check(name, |kind| kind == Kind::Flag(default));
        self.query.flag(name, default)
    }

    fn check(&self, name: &str, fits: impl Fn(Kind) -> bool) {
        debug_assert!(
            self.documented
                .is_none_or(|all| all.iter().any(|it| it.name == name && fits(it.kind))),
            "{name} is not in the API description, or is something else there"
        );
    }
}

use Segment::{Anything, Model, ModelBeforeColon, ModelVerb, Rest, Version, Word};

const PREDICTIONS: Segment = Word("predictions");
const EXPLANATIONS: Segment = Word("explanations");
const MODELS: Segment = Word("models");
const V1: Segment = Word("v1");
const V2: Segment = Word("v2");
const VERSIONS: Segment = Word("versions");
const PREDICT: Segment = ModelVerb(":predict");
const EXPLAIN: Segment = ModelVerb(":explain");
const LOGGERS: &[Segment] = &[Word("loggers")];
const ONE: &[Segment] = &[MODELS, Model];
const ONE_VERSION: &[Segment] = &[MODELS, Model, Version];
const SET_DEFAULT: &[Segment] = &[MODELS, Model, Version, Word("set-default")];

const fn described(row: Route, documentation: &'static Documentation) -> Route {
    Route {
        documentation: Some(documentation),
        ..row
    }
}

const fn api(method: &'static str, path: &'static [Segment], handler: Handler) -> Route {
    Route {
        api: Api::Management,
        method: Method::Only(method),
        path,
        body: BodyUse::Ignored,
        handler,
        documentation: None,
    }
}

const fn any(api: Api, path: &'static [Segment], handler: Handler) -> Route {
    Route {
        api,
        method: Method::Any,
        path,
        body: BodyUse::Ignored,
        handler,
        documentation: None,
    }
}

const fn input(path: &'static [Segment], handler: Handler) -> Route {
    Route {
        body: BodyUse::ModelInput,
        ..any(Api::Inference, path, handler)
    }
}

const fn get(path: &'static [Segment], handler: Handler) -> Route {
    Route {
        api: Api::Inference,
        ..api("GET", path, handler)
    }
}

const fn oip(path: &'static [Segment], handler: Handler) -> Route {
    Route {
        api: Api::OpenInference,
        ..api("GET", path, handler)
    }
}

const fn tensors(api: Api, path: &'static [Segment], handler: Handler) -> Route {
    Route {
        body: BodyUse::Tensors,
        ..any(api, path, handler)
    }
}

/// All routes.
#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    described(input(&[PREDICTIONS, Model], inference::predict), &docs::PREDICT),
    described(input(&[PREDICTIONS, Model, Version], inference::predict), &docs::PREDICT_VERSION),
    input(&[PREDICTIONS, Model, Version, Rest], inference::predict),
    described(any(Api::Models, &[Word("api-description")], inference::api_description), &docs::OLD_DESCRIPTION),
    described(Route { api: Api::Every, ..api("OPTIONS", &[], inference::api_description) }, &docs::DESCRIPTION),
    input(&[EXPLANATIONS, Model], inference::explain),
    input(&[EXPLANATIONS, Model, Version], inference::explain),
    input(&[EXPLANATIONS, Model, Version, Rest], inference::explain),
    described(any(Api::Inference, &[Word("ping"), Anything], inference::ping), &docs::PING),
    described(any(Api::Every, &[Word("livez")], inference::alive), &docs::LIVE),
    described(any(Api::Every, &[Word("readyz")], inference::ready), &docs::READY),
    described(any(Api::Every, &[Word("startupz")], inference::started), &docs::STARTED),
    input(&[Word("invocations")], inference::invoke),
    input(&[MODELS, Model, Word("invoke")], inference::invoke),
    // The original takes every such path for inference, which hides management behind it where
    // both share a listener.
    any(Api::Nowhere, ONE_VERSION, inference::not_found),
    described(input(&[V1, MODELS, PREDICT], inference::kserve_predict), &docs::PREDICT_V1),
    input(&[V1, MODELS, EXPLAIN], inference::kserve_explain),
    described(get(&[V1, MODELS], open_inference::models), &docs::MODELS_V1),
    described(get(&[V1, MODELS, ModelBeforeColon], open_inference::model_ready_v1), &docs::MODEL_READY_V1),
    described(tensors(Api::Inference, &[V2, MODELS, ModelBeforeColon, Word("infer")], open_inference::infer), &docs::PREDICT_V2),
    tensors(Api::Inference, &[V2, MODELS, ModelBeforeColon, Word("explain")], open_inference::explain),
    described(tensors(Api::OpenInference, &[V2, MODELS, Model, VERSIONS, Version, Word("infer")], open_inference::infer), &docs::INFER_VERSION),
    described(oip(&[V2], open_inference::server_metadata), &docs::SERVER_METADATA),
    described(oip(&[V2, Word("health"), Word("live")], open_inference::live), &docs::LIVE_V2),
    described(oip(&[V2, Word("health"), Word("ready")], open_inference::ready), &docs::READY_V2),
    described(oip(&[V2, MODELS], open_inference::models), &docs::MODELS_V2),
    described(oip(&[V2, MODELS, Model], open_inference::model_metadata), &docs::MODEL_METADATA),
    described(oip(&[V2, MODELS, Model, Word("ready")], open_inference::model_ready), &docs::MODEL_READY),
    described(oip(&[V2, MODELS, Model, VERSIONS, Version], open_inference::model_metadata), &docs::VERSION_METADATA),
    described(oip(&[V2, MODELS, Model, VERSIONS, Version, Word("ready")], open_inference::model_ready), &docs::VERSION_READY),
    any(Api::Nowhere, &[MODELS, Word("predict")], inference::not_found),
    input(&[Model, Word("predict")], inference::invoke),
    input(&[Model, Version, Word("predict")], inference::invoke),

    described(api("GET", &[MODELS], management::list), &docs::LIST),
    described(Route { body: BodyUse::Read, ..api("POST", &[MODELS], management::register) }, &docs::REGISTER),
    described(api("GET", ONE, management::describe), &docs::DESCRIBE),
    described(api("PUT", ONE, management::scale), &docs::SCALE),
    described(api("DELETE", ONE, management::unregister), &docs::UNREGISTER),
    api("OPTIONS", ONE, management::model_description),
    described(api("GET", ONE_VERSION, management::describe), &docs::DESCRIBE_VERSION),
    described(api("PUT", ONE_VERSION, management::scale), &docs::SCALE_VERSION),
    described(api("DELETE", ONE_VERSION, management::unregister), &docs::UNREGISTER_VERSION),
    api("OPTIONS", ONE_VERSION, management::model_description),
    described(api("PUT", SET_DEFAULT, management::set_default), &docs::SET_DEFAULT),
    // The original ignores the version and the last word here.
    api("GET", SET_DEFAULT, management::describe_default),
    api("DELETE", SET_DEFAULT, management::unregister_default),
    api("OPTIONS", SET_DEFAULT, management::model_description),
    api("GET", &[V1, MODELS, ModelBeforeColon], management::readiness),
    any(Api::Tokens, &[Word("token")], management::new_key),
    described(api("GET", LOGGERS, loggers::list), &docs::LOGGERS),
    described(api("PUT", LOGGERS, loggers::set), &docs::SET_LOGGER),

    any(Api::Metrics, &[Word("metrics"), Word("tserve")], metrics::own),
    described(any(Api::Metrics, &[Word("metrics"), Anything], metrics::classic), &docs::METRICS),
];

/// Finds the row for a request.
///
/// # Errors
/// [`Error::MethodNotAllowed`] when the path exists for other methods, else
/// [`Error::ResourceNotFound`].
pub(super) fn find<'a>(
    connector: Connector,
    method: &str,
    path: Option<&'a str>,
) -> Result<(&'static Route, Captures<'a>), Error> {
    let path = path.ok_or(Error::ResourceNotFound)?;
    let mut is_known = false;
    for row in ROUTES {
        if !connector.serves(row.api) {
            continue;
        }
        if let Some(captures) = fit(row.path, path) {
            match row.method {
                Method::Only(only) if only != method => is_known = true,
                _ => return Ok((row, captures)),
            }
        }
    }
    Err(if is_known {
        Error::MethodNotAllowed
    } else {
        Error::ResourceNotFound
    })
}

/// Matches a decoded path without its outer slashes against a pattern.
fn fit<'a>(pattern: &[Segment], path: &'a str) -> Option<Captures<'a>> {
    let mut captures = Captures::default();
    let mut left = if path.is_empty() { None } else { Some(path) };
    for segment in pattern {
        match segment {
            Anything => return Some(captures),
            Rest => {
                captures.rest = left?;
                return Some(captures);
            }
            _ => {}
        }
        let (part, rest) = match left?.split_once('/') {
            Some((part, rest)) => (part, Some(rest)),
            None => (left?, None),
        };
        left = rest;
        match segment {
            Word(word) if part == *word => {}
            Model => captures.model = Some(part),
            Version => captures.version = Some(part),
            ModelBeforeColon => captures.model = part.split(':').next(),
            ModelVerb(verb) if part.contains(verb) => captures.model = part.split(':').next(),
            _ => return None,
        }
    }
    left.is_none().then_some(captures)
}

#[cfg(test)]
mod tests;
