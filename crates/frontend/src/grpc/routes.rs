//! Which services a listener has, and what each asks of its callers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::pb as reflection;
use tserve_api::FILE_DESCRIPTORS;
use tserve_api::inference::inference_ap_is_service_server::InferenceApIsServiceServer;
use tserve_api::management::management_ap_is_service_server::ManagementApIsServiceServer;
use tserve_api::open_inference::grpc_inference_service_server::GrpcInferenceServiceServer;

use super::Api;
use super::health::Health;
use super::inference::Inference;
use super::intake::Intake;
use super::management::Management;
use super::open_inference::{Dialect, OpenInference};
use crate::service::{Scope, Services};

/// Methods whose callers send any number of messages, at any time.
const STREAMING: [&str; 2] = ["StreamPredictions2", "ServerReflectionInfo"];

/// What clients look for when they want descriptions.
const REFLECTION: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The Open Inference Protocol as stock clients call it.
const STANDARD_INFERENCE: &str = "inference.GRPCInferenceService";

/// The answer of a service to come.
type Reply = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// One service of a listener.
pub(super) struct Route {
    /// Full name of the service.
    pub(super) name: &'static str,
    /// What a caller has to be allowed to do; `None` when everybody may.
    pub(super) scope: Option<Scope>,
    call: Box<dyn Fn(Request<Intake>) -> Reply + Send + Sync>,
}

impl Route {
    fn new<S>(scope: Option<Scope>, service: S) -> Self
    where
        S: NamedService
            + Service<Request<Intake>, Response = Response<Body>, Error = Infallible, Future = Reply>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self {
            name: S::NAME,
            scope,
            call: Box::new(move |request| {
                let mut service = service.clone();
                // Generated services are always ready; asking is part of the protocol.
                let ready = service.poll_ready(&mut Context::from_waker(std::task::Waker::noop()));
                debug_assert!(matches!(ready, Poll::Ready(Ok(()))));
                service.call(request)
            }),
        }
    }

    /// The same under another name: generated services look at the whole path.
    fn alias(self, name: &'static str) -> Self {
        let Self {
            name: own, call, ..
        } = self;
        Self {
            name,
            scope: self.scope,
            call: Box::new(move |mut request| {
                let method = request.uri().path().rsplit('/').next().unwrap_or_default();
                if let Ok(uri) = format!("/{own}/{method}").parse() {
                    *request.uri_mut() = uri;
                }
                call(request)
            }),
        }
    }

    /// Runs a call.
    pub(super) async fn call(&self, request: Request<Intake>) -> Response<Body> {
        match (self.call)(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The services of a listener.
pub(super) fn of(api: Api, services: &Services, stopping: &watch::Receiver<bool>) -> Vec<Route> {
    let limit = usize::try_from(services.config.max_request_size).unwrap_or(usize::MAX);
    let gzip = CompressionEncoding::Gzip;
    let mut routes = vec![match api {
        Api::Inference => Route::new(
            Some(Scope::Inference),
            InferenceApIsServiceServer::new(Inference::new(services))
                .accept_compressed(gzip)
                .max_decoding_message_size(limit),
        ),
        Api::Management => Route::new(
            Some(Scope::Management),
            ManagementApIsServiceServer::new(Management::new(services))
                .accept_compressed(gzip)
                .max_decoding_message_size(limit),
        ),
    }];
    if api == Api::Inference && services.config.open_inference {
        let server = |dialect| {
            GrpcInferenceServiceServer::new(OpenInference::new(services, dialect))
                .accept_compressed(gzip)
                .max_decoding_message_size(limit)
        };
        let scope = Some(Scope::Inference);
        routes.push(Route::new(scope, server(Dialect::TorchServe)));
        routes.push(Route::new(scope, server(Dialect::Standard)).alias(STANDARD_INFERENCE));
    }
    // As with probes and descriptions over REST, nobody needs a token for these.
    let health = Health::new(services.health.clone(), stopping.clone(), routes[0].name);
    routes.push(Route::new(None, HealthServer::new(health)));
    let names: Vec<_> = routes.iter().map(|route| route.name).collect();
    let described = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .include_reflection_service(false)
            .register_encoded_file_descriptor_set(FILE_DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(reflection::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(reflection::v1alpha::FILE_DESCRIPTOR_SET);
        for name in names.iter().chain(&REFLECTION) {
            builder = builder.with_service_name(*name);
        }
        builder
    };
    match (described().build_v1(), described().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            routes.push(Route::new(None, v1));
            routes.push(Route::new(None, v1alpha));
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "no server reflection: its descriptions cannot be read");
        }
    }
    routes
}

/// Whether the callers of a method send any number of messages.
pub(super) fn is_streaming(method: &str) -> bool {
    STREAMING.contains(&method)
}
