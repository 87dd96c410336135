//! The tserve model server as a library; the `tserve` binary is a thin shell around [`run`].
//!
//! # Layout
//! - [`config`]: effective values, where they come from. [`cli`], [`launch`]: the command line.
//! - [`http`]: REST adapters: wire requests to neutral requests and back, no rules.
//! - [`service`]: the rules: inference, management, health.
//! - [`dispatch`]: from a model's queue to its workers and back.
//! - [`worker`]: processes: spawn, handshake, supervision, logs.
//! - [`model`]: archives, manifests, settings, the registry. No sockets, no processes.
//! - [`telemetry`]: server, access and model logs.

pub mod cli;
pub mod config;
pub mod error;
pub mod launch;
pub mod model;
pub mod service;
pub mod telemetry;
