//! Registering, listing, describing, scaling and removing models: messages to requests and back.

use std::future::Future;

use serde::Serialize;
use tonic::{Request, Response, Status};
use tserve_api::management::management_ap_is_service_server::ManagementApIsService;
use tserve_api::management::{
    DescribeModelRequest, ListModelsRequest, ManagementResponse, RegisterModelRequest,
    ScaleWorkerRequest, SetDefaultRequest, UnregisterModelRequest,
};

use super::call;
use super::status;
use crate::error::Error;
use crate::service::{
    DescribeRequest, ManagementService, RegisterRequest, ScaleRequest, Services, StatusReply,
};

type Outcome = Result<Response<ManagementResponse>, Status>;

/// The service `ManagementAPIsService`.
pub(super) struct Management {
    service: ManagementService,
}

impl Management {
    pub(super) fn new(services: &Services) -> Self {
        Self {
            service: services.management.clone(),
        }
    }

    /// Runs an operation to its end, even when the client gives up: half of one would leave a model
    /// in a state that nobody asked for.
    async fn operate<F, Fut>(&self, operation: F) -> Outcome
    where
        F: FnOnce(ManagementService) -> Fut,
        Fut: Future<Output = Result<StatusReply, Error>> + Send + 'static,
    {
        let outcome = match tokio::spawn(operation(self.service.clone())).await {
            Ok(outcome) => outcome,
            Err(failure) => Err(Error::Internal(format!(
                "The operation was interrupted: {failure}"
            ))),
        };
        match outcome {
            Ok(reply) => Ok(said(reply.status)),
            Err(error) => Err(status::of_operation(&error)),
        }
    }
}

#[tonic::async_trait]
impl ManagementApIsService for Management {
    async fn describe_model(&self, request: Request<DescribeModelRequest>) -> Outcome {
        let identity = call::identity(&request);
        let request = request.into_inner();
        let is_customized = request.customized;
        let mut headers = Vec::new();
        identity.hand_on(&mut headers);
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let described = self.service.describe(DescribeRequest {
            model: named(request.model_name)?,
            version: given(request.model_version),
            customized: is_customized,
            failures: false,
            headers: headers.into_iter().map(own).collect(),
        });
        match described.await {
            Ok(description) => Ok(json(&description.json)),
            // The handler is asked: it is a prediction, with a prediction's errors.
            Err(error) if is_customized => Err(status::of_prediction(&error)),
            Err(error) => Err(status::of_operation(&error)),
        }
    }

    async fn list_models(&self, request: Request<ListModelsRequest>) -> Outcome {
        let request = request.into_inner();
        // What is no number of models means as many as there may be, as over REST.
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let offset = usize::try_from(request.next_page_token).unwrap_or(0);
        Ok(json(&self.service.list(limit, offset)))
    }

    async fn register_model(&self, request: Request<RegisterModelRequest>) -> Outcome {
        let request = registration(request.into_inner());
        self.operate(|service| async move { service.register(request).await })
            .await
    }

    async fn scale_worker(&self, request: Request<ScaleWorkerRequest>) -> Outcome {
        let request = request.into_inner();
        let request = ScaleRequest {
            model: named(request.model_name)?,
            version: given(request.model_version),
            min_worker: positive(request.min_worker),
            max_worker: positive(request.max_worker),
            synchronous: request.synchronous,
            // 0 cannot be told from unset.
            timeout: positive(request.timeout),
        };
        self.operate(|service| async move { service.scale(request).await })
            .await
    }

    async fn set_default(&self, request: Request<SetDefaultRequest>) -> Outcome {
        let request = request.into_inner();
        let model = named(request.model_name)?;
        self.operate(
            |service| async move { service.set_default(&model, &request.model_version).await },
        )
        .await
    }

    async fn unregister_model(&self, request: Request<UnregisterModelRequest>) -> Outcome {
        let request = request.into_inner();
        let (model, version) = (named(request.model_name)?, given(request.model_version));
        self.operate(
            |service| async move { service.unregister(&model, version.as_deref(), None).await },
        )
        .await
    }
}

fn registration(message: RegisterModelRequest) -> RegisterRequest {
    RegisterRequest {
        url: given(message.url),
        model_name: given(message.model_name),
        handler: given(message.handler),
        runtime: given(message.runtime),
        batch_size: positive(message.batch_size),
        max_batch_delay: positive(message.max_batch_delay),
        initial_workers: positive(message.initial_workers),
        synchronous: message.synchronous,
        response_timeout: positive(message.response_timeout),
        startup_timeout: positive(message.startup_timeout),
        s3_sse_kms: message.s3_sse_kms,
        checksum: None,
    }
}

/// A text, unless it was left out.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// A number, unless it was left out.
fn positive(number: i32) -> Option<i64> {
    (number > 0).then_some(number.into())
}

/// The model that a call is about.
fn named(model: String) -> Result<String, Status> {
    given(model).ok_or_else(|| {
        let text = "Parameter model_name is required.".to_owned();
        status::of_operation(&Error::BadRequest(text))
    })
}

fn said(msg: String) -> Response<ManagementResponse> {
    Response::new(ManagementResponse { msg })
}

fn json(value: &impl Serialize) -> Response<ManagementResponse> {
    said(serde_json::to_string_pretty(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_or_not_positive_counts_as_absent() {
        let bare = registration(RegisterModelRequest::default());
        assert_eq!(
            (bare.url, bare.model_name, bare.handler),
            (None, None, None)
        );
        assert_eq!((bare.batch_size, bare.initial_workers), (None, None));
        assert!(!bare.synchronous);
        let full = registration(RegisterModelRequest {
            url: "a.mar".to_owned(),
            batch_size: -1,
            initial_workers: 2,
            max_batch_delay: i32::MAX,
            ..RegisterModelRequest::default()
        });
        assert_eq!(full.url.as_deref(), Some("a.mar"));
        assert_eq!((full.batch_size, full.initial_workers), (None, Some(2)));
        assert_eq!(full.max_batch_delay, Some(i64::from(i32::MAX)));
    }
}
