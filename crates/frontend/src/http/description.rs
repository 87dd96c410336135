//! `OpenAPI` documents, built from the route table.

use serde_json::{Map, Value, json};

use super::Connector;
use super::documentation::{Documentation, Kind, Parameter, Shape};
use super::routes::{Api, ROUTES, Route, Segment};
use crate::service::Schemas;

/// The description of everything a listener serves.
pub(super) fn server(connector: Connector) -> Value {
    // Every listener's description names the metrics, whoever serves them.
    let is_listed = |row: &Route| connector.serves(row.api) || row.api == Api::Metrics;
    json!({
        "openapi": "3.0.1",
        "info": {
            "title": "TorchServe APIs",
            "description": "REST APIs of tserve, compatible with TorchServe's",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths(is_listed),
    })
}

/// The description that `OPTIONS` on a model of the management API gives.
pub(super) fn management(model: &str) -> Value {
    let is_listed = |row: &Route| {
        row.api == Api::Management
            && row
                .path
                .starts_with(&[Segment::Word("models"), Segment::Model])
    };
    json!({
        "openapi": "3.0.1",
        "info": {
            "title": format!("RESTful Management API for: {model}"),
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths(is_listed),
    })
}

/// The description that `OPTIONS` on a prediction route gives: the ways to ask the default version.
pub(super) fn prediction(model: &str, schemas: Option<&Schemas>) -> Value {
    let is_listed = |row: &Route| {
        row.documentation
            .is_some_and(|it| it.takes_body && !row.path.contains(&Segment::Version))
    };
    let mut document = json!({
        "openapi": "3.0.1",
        "info": { "title": format!("RESTful API for: {model}"), "version": "1.0.0" },
    });
    let mut named = Map::new();
    for (path, mut methods) in paths(is_listed) {
        for operation in methods
            .as_object_mut()
            .into_iter()
            .flat_map(|it| it.values_mut())
        {
            let version = operation["operationId"]
                .as_str()
                .and_then(|id| id.strip_suffix("predictions"));
            operation["operationId"] = json!(format!("{}{model}", version.unwrap_or_default()));
            operation["parameters"] = json!([]);
            if let Some(schemas) = schemas {
                describe_bodies(operation, schemas);
            }
        }
        named.insert(path.replace("{model_name}", model), methods);
    }
    document["paths"] = Value::Object(named);
    document
}

/// Puts what the handler says of its bodies in the place of "anything".
fn describe_bodies(operation: &mut Value, schemas: &Schemas) {
    if let Some(request) = &schemas.request
        && let Some(body) = operation.get_mut("requestBody")
    {
        body["content"] = json!({ "application/json": { "schema": request } });
    }
    if let Some(response) = &schemas.response
        && let Some(answer) = operation.pointer_mut("/responses/200")
    {
        answer["content"] = json!({ "application/json": { "schema": response } });
    }
}

fn paths(is_listed: impl Fn(&Route) -> bool) -> Map<String, Value> {
    let mut paths = Map::new();
    for row in ROUTES.iter().filter(|row| is_listed(row)) {
        if let Some(documentation) = row.documentation {
            let path = paths
                .entry(path_text(row.path))
                .or_insert_with(|| json!({}));
            path[documentation.method] = operation(row.path, documentation);
        }
    }
    paths
}

fn path_text(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Word(word) => text.extend(["/", word]),
            Segment::Model | Segment::ModelBeforeColon => text.push_str("/{model_name}"),
            Segment::ModelVerb(verb) => text.extend(["/{model_name}", verb]),
            Segment::Version => text.push_str("/{model_version}"),
            Segment::Rest | Segment::Anything => {}
        }
    }
    if text.is_empty() {
        text.push('/');
    }
    text
}

fn operation(path: &[Segment], documentation: &Documentation) -> Value {
    let mut parameters: Vec<_> = path.iter().filter_map(path_parameter).collect();
    parameters.extend(documentation.parameters.iter().map(query_parameter));
    let mut operation = json!({
        "description": documentation.summary,
        "operationId": documentation.operation_id,
        "parameters": parameters,
    });
    if documentation.takes_body {
        operation["requestBody"] = json!({
            "description": "Whatever the model takes",
            "content": { "*/*": { "schema": { "type": "string", "format": "binary" } } },
            "required": true,
        });
    }
    let answers = documentation.answers.iter();
    let responses: Map<_, _> = answers
        .map(|&(status, meaning, shape)| (status.to_string(), response(meaning, shape)))
        .collect();
    operation["responses"] = Value::Object(responses);
    if documentation.is_deprecated {
        operation["deprecated"] = json!(true);
    }
    operation
}

fn path_parameter(segment: &Segment) -> Option<Value> {
    let (name, summary) = match segment {
        Segment::Model | Segment::ModelBeforeColon | Segment::ModelVerb(_) => {
            ("model_name", "Name of the model.")
        }
        Segment::Version => ("model_version", "Version of the model."),
        Segment::Word(_) | Segment::Rest | Segment::Anything => return None,
    };
    Some(json!({
        "in": "path",
        "name": name,
        "description": summary,
        "required": true,
        "schema": { "type": "string" },
    }))
}

fn query_parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Choice(choices) => json!({ "type": "string", "enum": choices }),
        Kind::Number(None) => json!({ "type": "integer" }),
        Kind::Number(Some(default)) => json!({ "type": "integer", "default": default }),
        Kind::Flag(default) => json!({ "type": "boolean", "default": default }),
    };
    json!({
        "in": "query",
        "name": parameter.name,
        "description": parameter.summary,
        "required": parameter.is_required,
        "schema": schema,
    })
}

fn response(meaning: &str, shape: Shape) -> Value {
    let content_type = match shape {
        Shape::Bytes => "*/*",
        Shape::Metrics => "text/plain; version=0.0.4; charset=utf-8",
        _ => "application/json",
    };
    json!({
        "description": meaning,
        "content": { content_type: { "schema": schema(shape) } },
    })
}

fn schema(shape: Shape) -> Value {
    match shape {
        Shape::Bytes => json!({ "type": "string", "format": "binary" }),
        Shape::OpenApi => object(
            &["openapi", "info", "paths"],
            json!({
                "openapi": { "type": "string" },
                "info": { "type": "object" },
                "paths": { "type": "object" },
            }),
        ),
        Shape::Status => object(&["status"], json!({ "status": text("What happened.") })),
        Shape::Readiness => readiness(),
        Shape::Error => object(
            &["code", "type", "message"],
            json!({
                "code": number("HTTP status."),
                "type": text("Kind of error."),
                "message": text("What went wrong."),
                "detail": {
                    "type": "object",
                    "description": "What the handler raised, where error_detail is on.",
                },
            }),
        ),
        Shape::Metrics => object(
            &["# HELP", "# TYPE", "metric"],
            json!({
                "# HELP": text("What the metric measures."),
                "# TYPE": text("Counter, gauge or histogram."),
                "metric": text("A sample: name, labels, value."),
            }),
        ),
        Shape::LoggerLevels => object(
            &["loggers"],
            json!({
                "loggers": {
                    "type": "array",
                    "items": object(
                        &["name", "level"],
                        json!({ "name": text("The logger."), "level": text("Its level.") }),
                    ),
                },
            }),
        ),
        Shape::ModelList => object(
            &["models"],
            json!({
                "nextPageToken": text("Token of the next page."),
                "models": {
                    "type": "array",
                    "items": object(
                        &["modelName", "modelUrl"],
                        json!({
                            "modelName": text("Name."),
                            "modelUrl": text("Where the default version came from."),
                        }),
                    ),
                    "description": "Models in name order.",
                },
            }),
        ),
        Shape::ModelDescription => model_description(),
        Shape::ModelReady => object(
            &["name", "ready"],
            json!({ "name": text("Name."), "ready": flag("Whether it is ready.") }),
        ),
        Shape::ModelNames => object(
            &["models"],
            json!({ "models": { "type": "array", "items": { "type": "string" } } }),
        ),
        Shape::Flag(name) => object(&[name], json!({ name: flag("Whether it is so.") })),
        Shape::ServerMetadata => object(
            &["name", "version", "extensions"],
            json!({
                "name": text("Name."),
                "version": text("Version."),
                "extensions": { "type": "array", "items": { "type": "string" } },
            }),
        ),
        Shape::ModelMetadata => object(
            &["name", "versions", "platform", "inputs", "outputs"],
            json!({
                "name": text("Name."),
                "versions": { "type": "array", "items": { "type": "string" } },
                "platform": text("Framework and format; empty when not known."),
                "inputs": { "type": "array", "items": { "type": "object" } },
                "outputs": { "type": "array", "items": { "type": "object" } },
            }),
        ),
    }
}

fn readiness() -> Value {
    let model = object(
        &["modelName", "reason"],
        json!({
            "modelName": text("Name."),
            "modelVersion": text("Version; absent when the model is not registered."),
            "minWorkers": number("Workers it needs."),
            "loadedWorkers": number("Workers it has."),
            "reason": text("What is missing."),
            "lastError": text("Why a worker last failed."),
        }),
    );
    object(
        &["status"],
        json!({
            "status": text("Whether it is so."),
            "notReady": {
                "type": "array",
                "items": model,
                "description": "Models that are not; where tokens are needed, only with one.",
            },
        }),
    )
}

/// What describe answers; `tests/management/test_openapi.py` holds it against real answers.
fn model_description() -> Value {
    let queue = object(
        &["remainingCapacity", "pendingRequests"],
        json!({
            "remainingCapacity": number("Requests that still fit into the queue."),
            "pendingRequests": number("Requests that wait."),
        }),
    );
    let version = object(
        &[
            "modelName",
            "modelVersion",
            "modelUrl",
            "minWorkers",
            "maxWorkers",
            "workers",
            "jobQueueStatus",
        ],
        json!({
        "modelName": text("Name."),
        "modelVersion": text("Version."),
        "modelUrl": text("Where it came from."),
        "runtime": text("Interpreter."),
        "minWorkers": number("Fewest workers."),
        "maxWorkers": number("Most workers."),
        "batchSize": number("Most requests per batch."),
        "maxBatchDelay": number("Milliseconds that a batch may wait to fill."),
        "responseTimeout": number("Seconds that a worker may take for a batch."),
        "startupTimeout": number("Seconds that a worker may take to load."),
        "maxRetryTimeoutInSec": number("Seconds after which a worker that keeps failing is given up."),
        "clientTimeoutInMills": number("Milliseconds after which a client is told that it took too long; 0 is never."),
        "parallelType": text("How one worker uses several devices; empty if it does not."),
        "parallelLevel": number("Devices of one worker; 0 if it does not share them out."),
        "deviceType": text("cpu or gpu."),
        "deviceIds": { "type": "array", "items": { "type": "integer" }, "description": "GPUs that it is confined to." },
        "continuousBatching": flag("Whether requests join a batch that runs."),
        "useJobTicket": flag("Whether requests are admitted only when a worker is idle."),
        "useVenv": flag("Whether it has a virtual environment of its own."),
        "stateful": flag("Whether requests of a sequence go to one worker."),
        "sequenceMaxIdleMSec": number("Milliseconds after which a silent sequence ends."),
        "sequenceTimeoutMSec": number("Milliseconds that a sequence may last."),
        "maxNumSequence": number("Most sequences at once."),
        "maxSequenceJobQueueSize": number("Most waiting requests of a sequence."),
        "loadedAtStartup": flag("Whether it was named when the server started."),
        "workers": { "type": "array", "items": worker(), "description": "Its workers." },
            "jobQueueStatus": queue,
            "failures": { "type": "array", "items": failure(), "description": "The last failures, when they are asked for." },
            "customizedMetadata": { "type": "object", "description": "What the handler adds when it is asked." },
        }),
    );
    json!({ "type": "array", "items": version })
}

fn worker() -> Value {
    object(
        &["id", "startTime", "status"],
        json!({
            "id": text("Worker id."),
            "startTime": text("When it was started."),
            "status": {
                "type": "string",
                "description": "Whether it serves.",
                "enum": ["READY", "UNLOADING"],
            },
            "memoryUsage": number("Bytes of memory."),
            "pid": number("Process id; -1 while there is none."),
            "gpu": flag("Whether it runs on a GPU."),
            "gpuUsage": text("Load of its GPU."),
            "state": {
                "type": "string",
                "description": "What it does while it does not serve.",
                "enum": ["LOADING", "BACKING_OFF", "FAILED", "STOPPING"],
            },
            "lastError": last_error(),
        }),
    )
}

fn failure() -> Value {
    let mut failure = last_error();
    failure["required"] = json!(["of", "worker", "times", "status", "summary", "time"]);
    failure["properties"]["of"] = json!({ "type": "string", "enum": ["worker", "handler"] });
    failure["properties"]["worker"] = text("The worker that it happened to.");
    failure["properties"]["times"] = number("How often it happened in a row.");
    failure["properties"]["status"] = number("Status that clients got.");
    failure
}

fn last_error() -> Value {
    object(
        &["summary", "time"],
        json!({
            "summary": text("Why it last failed."),
            "time": text("When."),
            "exception": text("Type of the exception."),
            "message": text("Text of the exception."),
            "file": text("File that raised it."),
            "line": number("Line that raised it."),
            "traceback": text("Where it was raised, and why."),
            "exitStatus": number("Exit status of the process."),
            "signal": text("Signal that ended the process."),
            "killedForMemory": flag("Whether the kernel ended it for want of memory."),
        }),
    )
}

fn object(required: &[&str], properties: Value) -> Value {
    let mut schema = json!({ "type": "object", "required": required });
    schema["properties"] = properties;
    schema
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn flag(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

fn number(description: &str) -> Value {
    json!({ "type": "integer", "description": description })
}

#[cfg(test)]
mod tests;
