//! `OpenAPI` documents, built from the route table.

use serde_json::{Map, Value, json};

use super::Connector;
use super::documentation::{Documentation, Parameter, Shape};
use super::routes::{Api, ROUTES, Route, Segment};

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

/// The description that `OPTIONS` on a prediction route gives. The first path does not exist and
/// is listed as the original lists it.
pub(super) fn prediction(model: &str) -> Value {
    let operation = json!({
        "post": {
            "description": format!("Asks the model {model}."),
            "operationId": model,
            "parameters": [],
            "responses": {
                "200": { "description": "What the model answers" },
                "500": response("The server or the model failed", Shape::Error),
            },
        },
    });
    let mut paths = Map::new();
    for path in [
        &format!("/prediction/{model}"),
        "/v1/models/{model_name}:predict",
        "/v2/models/{model_name}/infer",
    ] {
        paths.insert(path.to_owned(), operation.clone());
    }
    json!({
        "openapi": "3.0.1",
        "info": { "title": format!("RESTful API for: {model}"), "version": "1.0.0" },
        "paths": paths,
    })
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
    let mut schema = json!({ "type": parameter.kind });
    if let Some(default) = parameter.default {
        schema["default"] = json!(default);
    }
    if !parameter.choices.is_empty() {
        schema["enum"] = json!(parameter.choices);
    }
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

fn model_description() -> Value {
    let worker = object(
        &["id", "startTime", "status"],
        json!({
            "id": text("Worker id."),
            "startTime": text("When it was started."),
            "gpu": { "type": "boolean", "description": "Whether it runs on a GPU." },
            "status": {
                "type": "string",
                "description": "Whether it serves.",
                "enum": ["READY", "LOADING", "UNLOADING"],
            },
            "state": text("What it does while it does not serve."),
            "lastError": { "type": "object", "description": "Why it last failed." },
        }),
    );
    let metrics = object(
        &["rejectedRequests", "waitingQueueSize", "requests"],
        json!({
            "rejectedRequests": number("Requests refused lately."),
            "waitingQueueSize": number("Requests that wait."),
            "requests": number("Requests answered lately."),
        }),
    );
    let queue = object(
        &["remainingCapacity", "pendingRequests"],
        json!({
            "remainingCapacity": number("Requests that still fit into the queue."),
            "pendingRequests": number("Requests that wait."),
        }),
    );
    object(
        &[
            "modelName",
            "modelVersion",
            "modelUrl",
            "minWorkers",
            "maxWorkers",
            "status",
            "workers",
            "metrics",
            "jobQueueStatus",
        ],
        json!({
            "modelName": text("Name."),
            "modelVersion": text("Version."),
            "modelUrl": text("Where it came from."),
            "minWorkers": number("Fewest workers."),
            "maxWorkers": number("Most workers."),
            "batchSize": number("Most requests per batch."),
            "maxBatchDelay": number("Milliseconds that a batch may wait to fill."),
            "status": text("Health."),
            "workers": { "type": "array", "items": worker, "description": "Its workers." },
            "metrics": metrics,
            "jobQueueStatus": queue,
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

fn number(description: &str) -> Value {
    json!({ "type": "integer", "description": description })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(document: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().collect();
                found.push(format!("{method} {path} {id} {statuses:?}").replace('"', ""));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn the_inference_listener_lists_what_the_original_lists_and_health() {
        assert_eq!(
            operations(&server(Connector::INFERENCE)),
            [
                "get /api-description api-description [200, 500]",
                "get /livez livez [200]",
                "get /metrics metrics [200, 500]",
                "get /ping ping [200, 500]",
                "get /readyz readyz [200, 404, 503]",
                "get /startupz startupz [200, 503]",
                "options / apiDescription [200, 500]",
                "post /predictions/{model_name} predictions [200, 404, 500, 503]",
                "post /predictions/{model_name}/{model_version} version_predictions [200, 404, 500, 503]",
                "post /v1/models/{model_name}:predict predictions [200, 404, 500, 503]",
                "post /v2/models/{model_name}/infer predictions [200, 404, 500, 503]",
            ]
        );
    }

    #[test]
    fn a_model_of_the_management_api_lists_its_operations() {
        let document = management("m");
        assert_eq!(document["info"]["title"], "RESTful Management API for: m");
        let listed = operations(&document);
        assert_eq!(listed.len(), 7);
        assert!(listed.contains(
            &"put /models/{model_name} setAutoScale [200, 202, 210, 400, 404, 500]".to_owned()
        ));
        let parameters = &document["paths"]["/models/{model_name}"]["put"]["parameters"];
        assert_eq!(parameters[0]["name"], "model_name");
        assert_eq!(parameters[1]["schema"]["default"], "1");
    }

    #[test]
    fn a_model_of_the_inference_api_lists_three_paths() {
        let listed = operations(&prediction("m"));
        assert_eq!(listed[0], "post /prediction/m m [200, 500]");
        assert_eq!(listed.len(), 3);
    }
}
