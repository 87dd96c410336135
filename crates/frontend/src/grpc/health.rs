//! The standard health service: readiness of the server and of every model.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::service::HealthService;

/// How often a watched status is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// The service `grpc.health.v1.Health`: the names it knows are the listener's own service (or none,
/// for the server) and the registered models.
#[derive(Clone)]
pub(super) struct Health {
    readiness: HealthService,
    stopping: watch::Receiver<bool>,
    service: &'static str,
}

impl Health {
    pub(super) fn new(
        readiness: HealthService,
        stopping: watch::Receiver<bool>,
        service: &'static str,
    ) -> Self {
        Self {
            readiness,
            stopping,
            service,
        }
    }

    /// The status of a name; `None` for one that nobody knows.
    fn status(&self, name: &str) -> Option<ServingStatus> {
        let is_ready = if name.is_empty() || name == self.service {
            self.readiness.readiness().is_ready()
        } else {
            self.readiness.model_readiness(name).ok()?.is_ready()
        };
        let is_serving = is_ready && !*self.stopping.borrow();
        Some(if is_serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        })
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        match self.status(&name) {
            Some(status) => Ok(Response::new(response(status))),
            None => Err(Status::not_found(format!("Model not found: {name}"))),
        }
    }

    type WatchStream = Watch;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = self.stopping.clone();
        Ok(Response::new(Watch {
            health: self.clone(),
            name: request.into_inner().service,
            said: None,
            tick,
            stop: Some(Box::pin(async move {
                // A sender that is gone means the same as a stop.
                let _ = stopping.wait_for(|stops| *stops).await;
            })),
        }))
    }
}

/// A status and its changes, until the server stops.
pub(super) struct Watch {
    health: Health,
    name: String,
    said: Option<ServingStatus>,
    tick: Interval,
    /// `None` once the server stops.
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(stop) = &mut self.stop else {
                return Poll::Ready(None);
            };
            if stop.as_mut().poll(context).is_ready() {
                self.stop = None;
            } else {
                ready!(self.tick.poll_tick(context));
            }
            let status = self.health.status(&self.name);
            let status = status.unwrap_or(ServingStatus::ServiceUnknown);
            if self.said != Some(status) {
                self.said = Some(status);
                return Poll::Ready(Some(Ok(response(status))));
            }
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}
