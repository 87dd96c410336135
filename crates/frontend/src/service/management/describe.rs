//! `GET /models/{name}`: what a model version is, how it is set and who serves it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{DescribeRequest, Description, ManagementService};
use crate::error::Error;
use crate::model::settings::DeviceType;
use crate::service::inference::submit_solo;
use crate::service::{Body, InferenceReply, InferenceRequest, ServedModel};
use crate::worker::{FailureOf, LastFailure, RecordedFailure, WorkerState, WorkerStatus};

/// One model version, in the order in which clients see the fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the fields are those of the API"
)]
struct VersionDescription<'a> {
    model_name: &'a str,
    model_version: &'a str,
    model_url: &'a str,
    runtime: &'static str,
    min_workers: u32,
    max_workers: u32,
    batch_size: i64,
    max_batch_delay: i64,
    response_timeout: u64,
    startup_timeout: u64,
    max_retry_timeout_in_sec: u64,
    client_timeout_in_mills: u64,
    parallel_type: &'a str,
    parallel_level: u32,
    device_type: &'static str,
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    device_ids: &'a [u32],
    continuous_batching: bool,
    use_job_ticket: bool,
    use_venv: bool,
    stateful: bool,
    #[serde(rename = "sequenceMaxIdleMSec")]
    sequence_max_idle_msec: u64,
    #[serde(rename = "sequenceTimeoutMSec")]
    sequence_timeout_msec: u64,
    max_num_sequence: u32,
    max_sequence_job_queue_size: u32,
    loaded_at_startup: bool,
    workers: Vec<WorkerDescription>,
    job_queue_status: JobQueueStatus,
    /// Not the original's: the last failures, for those who ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<Vec<Failure>>,
}

#[derive(Serialize)]
struct Failure {
    of: &'static str,
    worker: String,
    times: u64,
    status: u16,
    #[serde(flatten)]
    error: LastError,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkerDescription {
    id: String,
    start_time: String,
    status: &'static str,
    memory_usage: u64,
    pid: i32,
    gpu: bool,
    gpu_usage: &'static str,
    /// Not the original's: what it is doing, while it is not serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// Not the original's: why the worker last failed, if it ever did.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastError>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastError {
    summary: String,
    time: String,
    #[serde(flatten)]
    raised: Option<RaisedError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    killed_for_memory: Option<bool>,
}

#[derive(Serialize)]
struct RaisedError {
    exception: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    traceback: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JobQueueStatus {
    remaining_capacity: usize,
    pending_requests: usize,
}

impl ManagementService {
    /// Describes one version, the default one, or all.
    ///
    /// # Errors
    /// Unknown model or version; for customized descriptions also whatever the handler's call
    /// ends in.
    pub async fn describe(&self, request: DescribeRequest) -> Result<Description, Error> {
        if request.version.as_deref() == Some("all") {
            let versions = self.state.registry.versions(&request.model)?;
            let described: Vec<Value> = versions
                .iter()
                .map(|(_, model)| describe(&self.state, model, request.failures))
                .collect();
            return Ok(Description {
                json: described.into(),
                customized: None,
            });
        }
        let model = self
            .state
            .registry
            .get(&request.model, request.version.as_deref())?;
        let mut described = describe(&self.state, &model, request.failures);
        if !request.customized {
            return Ok(Description {
                json: json!([described]),
                customized: None,
            });
        }
        let reply = ask_handler(&model, &request).await?;
        if let (Some(metadata), Value::Object(fields)) = (metadata(&reply), &mut described) {
            fields.insert("customizedMetadata".to_owned(), metadata);
        }
        Ok(Description {
            json: json!([described]),
            customized: Some(reply),
        })
    }
}

/// Sends a describe request through a worker.
async fn ask_handler(
    model: &Arc<ServedModel>,
    request: &DescribeRequest,
) -> Result<InferenceReply, Error> {
    if model.pool.count() == 0 {
        return Err(Error::Unavailable(format!(
            "Model \"{}\" has no worker to serve describe request. Please use scale workers \
             API to add workers.",
            request.model
        )));
    }
    let mut headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    headers.push(("describe", "True"));
    let id = uuid::Uuid::new_v4().to_string();
    let mut pending = submit_solo(InferenceRequest {
        model: Arc::clone(model),
        requested_version: request.version.as_deref(),
        id: &id,
        headers: &headers,
        inputs: &[],
        body: Body::None,
        client: None,
    })?;
    pending.wait().await
}

/// The handler's metadata as describe shows it: an object as it is, other JSON as an empty object,
/// nothing for null.
fn metadata(reply: &InferenceReply) -> Option<Value> {
    match serde_json::from_slice(&reply.body) {
        Ok(Value::Null) => None,
        Ok(Value::Object(fields)) => Some(Value::Object(fields)),
        Ok(_) | Err(_) => Some(Value::Object(Map::new())),
    }
}

fn describe(
    state: &crate::service::state::ServerState,
    model: &ServedModel,
    has_failures: bool,
) -> Value {
    let context = model.context();
    let settings = &context.settings;
    let declared = &settings.declared;
    let (min_workers, max_workers) = model.pool.bounds();
    let waiting = context.dispatcher.waiting();
    let runs_on_gpu = settings.device_type != Some(DeviceType::Cpu) && state.devices.count() > 0;
    let description = VersionDescription {
        model_name: model.name(),
        model_version: model.version(),
        model_url: model.url(),
        runtime: settings.runtime.as_str(),
        min_workers,
        max_workers,
        batch_size: declared.batch_size,
        max_batch_delay: declared.max_batch_delay,
        response_timeout: settings.response_timeout.as_secs(),
        startup_timeout: settings.startup_timeout.as_secs(),
        max_retry_timeout_in_sec: settings.max_retry_timeout.as_secs(),
        client_timeout_in_mills: settings.client_timeout.map_or(0, millis),
        parallel_type: &declared.parallel_type,
        parallel_level: declared.parallel_level,
        device_type: if runs_on_gpu { "gpu" } else { "cpu" },
        device_ids: &settings.device_ids,
        continuous_batching: declared.continuous_batching,
        use_job_ticket: settings.use_job_ticket,
        use_venv: declared.use_venv,
        stateful: declared.sequence_batching,
        sequence_max_idle_msec: declared.sequence_max_idle_msec,
        sequence_timeout_msec: declared.sequence_timeout_msec,
        max_num_sequence: declared.max_num_sequence,
        max_sequence_job_queue_size: declared.max_sequence_job_queue_size,
        loaded_at_startup: model.loaded_at_startup || state.was_loaded_at_startup(model.name()),
        workers: model
            .pool
            .statuses()
            .iter()
            .map(|status| describe_worker(status))
            .collect(),
        job_queue_status: JobQueueStatus {
            remaining_capacity: context.dispatcher.capacity().saturating_sub(waiting),
            pending_requests: waiting,
        },
        failures: has_failures.then(|| {
            let latest = context.failures.latest();
            latest.into_iter().map(Failure::from).collect()
        }),
    };
    serde_json::to_value(description).unwrap_or_default()
}

fn describe_worker(status: &WorkerStatus) -> WorkerDescription {
    let state = status.state();
    let is_ready = state == WorkerState::Ready;
    WorkerDescription {
        id: status.id.to_string(),
        start_time: timestamp(status.created),
        status: if is_ready { "READY" } else { "UNLOADING" },
        memory_usage: status.memory_bytes(),
        pid: status.pid(),
        gpu: status.gpu.is_some(),
        gpu_usage: "N/A",
        state: (!is_ready).then(|| state.as_str()),
        last_error: status.last_failure().map(LastError::from),
    }
}

impl From<LastFailure> for LastError {
    fn from(failure: LastFailure) -> Self {
        Self {
            summary: failure.summary,
            time: timestamp(failure.at),
            raised: failure.raised.map(|raised| RaisedError {
                exception: raised.exception,
                message: raised.message,
                file: raised.file,
                line: raised.line,
                traceback: raised.traceback,
            }),
            exit_status: failure.exit_status,
            signal: failure.signal,
            killed_for_memory: failure.was_killed_for_memory,
        }
    }
}

impl From<RecordedFailure> for Failure {
    fn from(recorded: RecordedFailure) -> Self {
        Self {
            of: match recorded.of {
                FailureOf::Worker => "worker",
                FailureOf::Handler => "handler",
            },
            worker: recorded.worker.to_string(),
            times: recorded.times,
            status: recorded.failure.status,
            error: recorded.failure.into(),
        }
    }
}

/// `yyyy-MM-ddTHH:mm:ss.mmmZ`, in UTC.
fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
