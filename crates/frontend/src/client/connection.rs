//! Requests to the server and what its answers mean.

use std::fmt::Write as _;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, redirect};
use serde_json::Value;

use super::ClientError;
use super::arguments::Connection;
use super::target::{self, Api, Places};
use crate::config::Address;
use crate::launch::running_server;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server to ask.
#[derive(Debug)]
pub(super) struct Server {
    http: reqwest::Client,
    api: Api,
    address: Address,
    base: String,
    token: Option<String>,
}

/// What it answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) body: Vec<u8>,
}

/// A body and the type that it is sent with.
pub(super) type Upload<'a> = (Vec<u8>, Option<&'a str>);

impl Server {
    /// Finds out whom to ask; nothing is sent yet.
    pub(super) fn connect(connection: &Connection, api: Api) -> Result<Self, ClientError> {
        let environment = |name: &str| std::env::var(name).ok();
        let places = Places {
            here: std::env::current_dir().unwrap_or_default(),
            server: running_server(&environment),
        };
        let address = target::address(connection, api, &places, &environment)?;
        let token = target::token(api, &address, &places, &environment);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tserve/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(Duration::from_secs(connection.timeout))
            .redirect(redirect::Policy::none())
            // The server is addressed by name and port: a proxy for the web has no part in it.
            .no_proxy()
            .danger_accept_invalid_certs(connection.insecure);
        let base = match &address {
            Address::Tcp { .. } => address.to_string(),
            Address::Unix(path) => {
                builder = builder.unix_socket(path.clone());
                "http://localhost".to_owned()
            }
        };
        let http = builder
            .build()
            .map_err(|error| ClientError::Setup(causes(&error)))?;
        Ok(Self {
            http,
            api,
            address,
            base,
            token,
        })
    }

    /// Asks; an error status is an answer too.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        upload: Option<Upload<'_>>,
    ) -> Result<Answer, ClientError> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some((body, content_type)) = upload {
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type");
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = response
            .bytes()
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(Answer {
            status,
            content_type,
            body: body.into(),
        })
    }

    /// Asks for a JSON document; an error status is an error.
    pub(super) async fn ask_json(&self, method: Method, path: &str) -> Result<Value, ClientError> {
        let answer = self.ask(method, path, None).await?;
        if answer.is_error() {
            return Err(answer.refusal());
        }
        serde_json::from_slice(&answer.body).map_err(|error| ClientError::NotUnderstood {
            address: self.address.to_string(),
            problem: error.to_string(),
        })
    }

    fn failed(&self, error: &reqwest::Error) -> ClientError {
        let address = self.address.to_string();
        if error.is_builder() {
            ClientError::Setup(causes(error))
        } else if error.is_connect() {
            ClientError::Unreachable {
                address,
                reason: causes(error),
                flag: self.api.flag(),
                variable: self.api.variable(),
            }
        } else {
            ClientError::Interrupted {
                address,
                reason: causes(error),
            }
        }
    }
}

impl Answer {
    pub(super) fn is_error(&self) -> bool {
        !(200..300).contains(&self.status)
    }

    /// The error that the server describes.
    pub(super) fn refusal(&self) -> ClientError {
        let error: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let message = error["message"].as_str().map_or_else(
            || {
                let text = String::from_utf8_lossy(&self.body);
                text.chars().take(500).collect()
            },
            str::to_owned,
        );
        let kind = error["type"].as_str();
        ClientError::Refused {
            status: self.status,
            kind: kind.map(|kind| format!(" {kind}")).unwrap_or_default(),
            message: if message.trim().is_empty() {
                "the server refused".to_owned()
            } else {
                message.trim().to_owned()
            },
        }
    }
}

/// The innermost reason of an error: the outer ones repeat the URL.
fn causes(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A path of these parts, each of them escaped.
pub(super) fn path(parts: &[&str]) -> String {
    let mut path = String::new();
    for part in parts {
        let _ = write!(path, "/{}", utf8_percent_encode(part, NON_ALPHANUMERIC));
    }
    path
}

/// A path with a query of the parameters that are set.
pub(super) fn with_query(mut path: String, parameters: &[(&str, Option<String>)]) -> String {
    let mut separator = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            let _ = write!(path, "{separator}{name}={value}");
            separator = '&';
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_escaped() {
        let models = path(&["models", "a/b ü"]);
        assert_eq!(models, "/models/a%2Fb%20%C3%BC");
        let query = [
            ("url", Some("x&y=1".to_owned())),
            ("n", None),
            ("m", Some("2".to_owned())),
        ];
        assert_eq!(
            with_query("/models".to_owned(), &query),
            "/models?url=x%26y%3D1&m=2"
        );
    }

    #[test]
    fn a_refusal_keeps_the_words_of_the_server() {
        let answer = |body: &str| Answer {
            status: 404,
            content_type: None,
            body: body.into(),
        };
        let error = answer(
            r#"{"code":404,"type":"ModelNotFoundException","message":"Model not found: x"}"#,
        );
        assert_eq!(
            error.refusal().to_string(),
            "Model not found: x (404 ModelNotFoundException)"
        );
        assert_eq!(answer("nginx\n").refusal().to_string(), "nginx (404)");
        assert_eq!(answer("").refusal().to_string(), "the server refused (404)");
    }
}
