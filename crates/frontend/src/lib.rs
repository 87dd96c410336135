//! The tserve model server as a library; the `tserve` binary is a thin shell around [`run`].
//!
//! # Layout
//! - [`config`]: effective values and where they come from. [`cli`], [`launch`]: the command line;
//!   [`client`]: the commands that ask a running server.
//! - [`http`]: REST adapters: wire requests to neutral requests and back, no rules.
//!   [`grpc`]: the same for gRPC. [`ingress`]: the sockets below them.
//! - [`service`]: the rules: inference, management, health.
//! - [`dispatch`]: from a model's queue to its workers and back.
//! - [`worker`]: processes: spawn, handshake, supervision, output.
//! - [`model`]: archives, manifests, settings, the registry. No sockets, no workers.
//! - [`telemetry`]: server, access and model logs.
//! - [`server`]: start and stop of the whole; [`janitor`] cleans up after one that was killed.

pub mod cli;
pub mod client;
pub mod config;
pub mod dispatch;
pub mod error;
pub mod grpc;
pub mod http;
pub mod ingress;
pub mod janitor;
pub mod launch;
pub mod model;
pub mod server;
pub mod service;
pub mod telemetry;
pub mod worker;

pub use self::server::{StartError, run};
