//! Registering, listing, describing, scaling and removing models over REST.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::authorization;
use super::body::mime_type;
use super::description;
use super::inference::owned_headers;
use super::response::Response;
use super::routes::{Call, Parameters, Payload};
use crate::error::Error;
use crate::service::{DescribeRequest, RegisterRequest, ScaleRequest, StatusReply};

/// Most models per page, and how many a page has by default.
const PAGE_LIMIT: i64 = 100;
/// "Not given", spelled as a number.
const UNSET: i64 = -1;
/// "Not given" for a batch delay.
const UNSET_DELAY: i64 = -100;

/// `GET /models`
pub(super) fn list(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let query = call.query()?;
    let limit = query
        .integer("limit")
        .filter(|limit| (0..=PAGE_LIMIT).contains(limit))
        .unwrap_or(PAGE_LIMIT);
    let offset = query.integer("next_page_token").unwrap_or(0).max(0);
    let size = |number| usize::try_from(number).unwrap_or(0);
    let page = call
        .surface
        .services
        .management
        .list(size(limit), size(offset));
    Ok(Answer::Now(Response::json(200, &page)))
}

/// `POST /models`
#[expect(clippy::needless_pass_by_value, reason = "a route handler")]
pub(super) fn register(call: &Call<'_>, payload: Payload<'_>) -> Result<Answer, Error> {
    let has_json = mime_type(call.head.content_type()).eq_ignore_ascii_case("application/json");
    let request = if has_json {
        register_from_json(payload.bytes())?
    } else {
        register_from_query(&call.query()?)
    };
    let service = call.surface.services.management.clone();
    Ok(Answer::later(async move {
        operation(service.register(request).await)
    }))
}

/// `/token`
pub(super) fn new_key(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let query = call.query()?;
    let tokens = &call.surface.services.tokens;
    let rotation = tokens.rotation(authorization::header(&call.head), query.text("type"))?;
    Ok(Answer::later(async move {
        match rotation.run().await {
            Ok(()) => Response::text("application/json", Bytes::from_static(b"\n")),
            Err(error) => Response::error(&error),
        }
    }))
}

fn register_from_query(query: &Parameters<'_>) -> RegisterRequest {
    let text = |name| query.text(name).map(str::to_owned);
    let number = |name, unset| query.integer(name).filter(|&number| number != unset);
    RegisterRequest {
        url: text("url"),
        model_name: text("model_name").filter(|name| !name.is_empty()),
        handler: text("handler"),
        runtime: text("runtime"),
        batch_size: number("batch_size", UNSET),
        max_batch_delay: number("max_batch_delay", UNSET_DELAY),
        initial_workers: number("initial_workers", UNSET),
        synchronous: query.flag("synchronous", true),
        response_timeout: number("response_timeout", UNSET),
        startup_timeout: number("startup_timeout", UNSET),
        s3_sse_kms: query.flag("s3_sse_kms", false),
        checksum: text("checksum"),
    }
}

fn register_from_json(body: &[u8]) -> Result<RegisterRequest, Error> {
    let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
        Error::JsonSyntax(format!("The request body is not a JSON object: {error}"))
    })?;
    let number = |name, unset| {
        let number = json_number(&fields, name)?;
        Ok::<_, Error>(number.filter(|&number| number != unset))
    };
    Ok(RegisterRequest {
        url: json_text(&fields, "url")?,
        model_name: json_text(&fields, "model_name")?.filter(|name| !name.is_empty()),
        handler: json_text(&fields, "handler")?,
        runtime: json_text(&fields, "runtime")?,
        batch_size: number("batch_size", UNSET)?,
        max_batch_delay: number("max_batch_delay", UNSET_DELAY)?,
        initial_workers: number("initial_workers", UNSET)?,
        synchronous: json_flag(&fields, "synchronous", true)?,
        response_timeout: number("response_timeout", UNSET)?,
        startup_timeout: number("startup_timeout", UNSET)?,
        s3_sse_kms: json_flag(&fields, "s3_sse_kms", false)?,
        checksum: json_text(&fields, "checksum")?,
    })
}

fn json_text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        Some(_) => Err(wrong_type(name, "a string")),
    }
}

/// Numbers may be written as strings, as the original's JSON library allows.
fn json_number(fields: &Map<String, Value>, name: &str) -> Result<Option<i64>, Error> {
    let number = match fields.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(_) => return Err(wrong_type(name, "a whole number")),
    };
    let whole = number.strip_suffix(".0").unwrap_or(&number);
    match whole.parse::<i32>() {
        Ok(number) => Ok(Some(i64::from(number))),
        Err(_) => Err(wrong_type(name, "a whole number")),
    }
}

fn json_flag(fields: &Map<String, Value>, name: &str, default: bool) -> Result<bool, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) => Ok(text.eq_ignore_ascii_case("true")),
        Some(_) => Err(wrong_type(name, "true or false")),
    }
}

fn wrong_type(name: &str, expected: &str) -> Error {
    Error::JsonSyntax(format!("\"{name}\" of the request body is not {expected}."))
}

/// `GET /models/{m}[/{v}]`
pub(super) fn describe(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    describe_version(call, call.captures.version)
}

/// `GET /models/{m}/{v}/set-default`: describes the default version.
pub(super) fn describe_default(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    describe_version(call, None)
}

fn describe_version(call: &Call<'_>, version: Option<&str>) -> Result<Answer, Error> {
    let query = call.query()?;
    let customized = query.flag("customized", false);
    let request = DescribeRequest {
        model: model(call),
        version: version.map(str::to_owned),
        customized,
        failures: query.flag("failures", false),
        headers: if customized {
            owned_headers(call)
        } else {
            Vec::new()
        },
    };
    let service = call.surface.services.management.clone();
    Ok(Answer::later(async move {
        match service.describe(request).await {
            Ok(description) => match description.customized {
                Some(reply) => Response::json_as(reply, &description.json),
                None => Response::json(200, &description.json),
            },
            Err(error) => Response::error(&error),
        }
    }))
}

/// `PUT /models/{m}[/{v}]`
pub(super) fn scale(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let query = call.query()?;
    let version = match call.captures.version {
        Some(version) => Some(version),
        None => query.text("model_version"),
    };
    let request = ScaleRequest {
        model: model(call),
        version: version.map(str::to_owned),
        min_worker: query.integer("min_worker"),
        max_worker: query.integer("max_worker"),
        synchronous: query.flag("synchronous", false),
        timeout: query.integer("timeout"),
    };
    let service = call.surface.services.management.clone();
    Ok(Answer::later(async move {
        operation(service.scale(request).await)
    }))
}

/// `DELETE /models/{m}[/{v}]`
pub(super) fn unregister(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    unregister_version(call, call.captures.version)
}

/// `DELETE /models/{m}/{v}/set-default`: removes the default version.
pub(super) fn unregister_default(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    unregister_version(call, None)
}

fn unregister_version(call: &Call<'_>, version: Option<&str>) -> Result<Answer, Error> {
    let timeout = call.query()?.integer("timeout");
    let (model, version) = (model(call), version.map(str::to_owned));
    let service = call.surface.services.management.clone();
    Ok(Answer::later(async move {
        operation(
            service
                .unregister(&model, version.as_deref(), timeout)
                .await,
        )
    }))
}

/// `PUT /models/{m}/{v}/set-default`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn set_default(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let version = call.captures.version.unwrap_or_default().to_owned();
    let (model, service) = (model(call), call.surface.services.management.clone());
    Ok(Answer::later(async move {
        operation(service.set_default(&model, &version).await)
    }))
}

/// `OPTIONS /models/{m}[/{v}]`
pub(super) fn model_description(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let model = model(call);
    call.surface.services.inference.lookup(&model, None)?;
    let document = description::management(&model);
    Ok(Answer::Now(Response::json(200, &document)))
}

/// `GET /v1/models/{m}`
pub(super) fn readiness(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    #[derive(Serialize)]
    struct Readiness {
        name: String,
        ready: bool,
    }
    let name = model(call);
    let ready = call.surface.services.health.model_has_workers(&name)?;
    Ok(Answer::Now(Response::json(200, &Readiness { name, ready })))
}

fn model(call: &Call<'_>) -> String {
    call.captures.model.unwrap_or_default().to_owned()
}

fn operation(outcome: Result<StatusReply, Error>) -> Response {
    match outcome {
        Ok(reply) => reply.into(),
        Err(error) => Response::error(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::documentation::REGISTER;
    use crate::http::target::Target;

    fn from_query(target: &str) -> RegisterRequest {
        let target = Target::parse(target).unwrap();
        register_from_query(&Parameters::of(&REGISTER, &target).unwrap())
    }

    #[test]
    fn every_described_parameter_may_stand_in_a_json_body() {
        for parameter in REGISTER.parameters {
            let body = serde_json::json!({ parameter.name: [] }).to_string();
            let error = register_from_json(body.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(parameter.name), "{error}");
        }
    }

    #[test]
    fn registration_parameters_that_are_no_numbers_count_as_absent() {
        let request = from_query(
            "/models?url=a.mar&batch_size=x&initial_workers=2&initial_workers=9&response_timeout=1.5",
        );
        assert_eq!(request.url.as_deref(), Some("a.mar"));
        assert_eq!(request.batch_size, None);
        assert_eq!(request.initial_workers, Some(2));
        assert_eq!(request.response_timeout, None);
        assert!(request.synchronous);
        assert!(!from_query("/models?synchronous=yes").synchronous);
        assert_eq!(
            from_query("/models?max_batch_delay=-100").max_batch_delay,
            None
        );
    }

    #[test]
    fn a_json_registration_is_read_leniently_but_not_blindly() {
        let request = register_from_json(
            br#"{"url":"a.mar","model_name":5,"initial_workers":"1","batch_size":2.0,"synchronous":"False","other":[]}"#,
        )
        .unwrap();
        assert_eq!(request.model_name.as_deref(), Some("5"));
        assert_eq!(
            (request.initial_workers, request.batch_size),
            (Some(1), Some(2))
        );
        assert!(!request.synchronous);
        for bad in [
            &b""[..],
            b"[]",
            b"{",
            br#"{"url":[]}"#,
            br#"{"batch_size":"x"}"#,
        ] {
            let error = register_from_json(bad).unwrap_err();
            assert_eq!(error.wire_name(), "JsonSyntaxException");
            assert_eq!(error.code().http(), 500);
        }
    }
}
