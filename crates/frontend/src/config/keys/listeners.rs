//! Keys of listeners: addresses, TLS files, patience with clients, CORS headers, gRPC.

use super::super::Secret;
use super::super::value::{
    INT_MAX, address, boolean, header_value, host, milliseconds, optional_path, port, seconds,
    whole,
};
use super::{Group, Key, form};

const CONNECTION_AGE: &str = "milliseconds";

pub(super) const GROUP: Group = Group {
    title: "Listeners",
    keys: &[
        Key::new(
            "inference_address",
            form::ADDRESS,
            Some("http://127.0.0.1:8080"),
            "REST inference listener. Without a port: 80, or 443 for https.",
            |draft, text| address(text, 80, 443).map(|it| draft.config.inference_address = it),
        )
        .env("TS_INFERENCE_ADDRESS"),
        Key::new(
            "management_address",
            form::ADDRESS,
            Some("http://127.0.0.1:8081"),
            "REST management listener; equal to the inference address: one listener for both. \
             Without a port: 8081, or 8444 for https.",
            |draft, text| address(text, 8081, 8444).map(|it| draft.config.management_address = it),
        )
        .env("TS_MANAGEMENT_ADDRESS"),
        Key::new(
            "metrics_address",
            form::ADDRESS,
            Some("http://127.0.0.1:8082"),
            "Metrics listener; may be one of the other two. Without a port: 8082, or 8445 for https.",
            |draft, text| address(text, 8082, 8445).map(|it| draft.metrics_address = it),
        )
        .env("TS_METRICS_ADDRESS"),
        Key::new(
            "enable_metrics_api",
            form::BOOLEAN,
            Some("true"),
            "Whether there is a metrics listener.",
            |draft, text| boolean(text).map(|it| draft.enable_metrics_api = it),
        )
        .env("TS_ENABLE_METRICS_API"),
        Key::new(
            "private_key_file",
            form::FILE,
            None,
            "PEM private key of the https listeners, PKCS#8 or PKCS#1. Without it, \
             `certificate_file` and `keystore` they use a self-signed certificate, made at each \
             start.",
            |draft, text| optional_path(text).map(|it| draft.private_key = it),
        )
        .env("TS_PRIVATE_KEY_FILE"),
        Key::new(
            "certificate_file",
            form::FILE,
            None,
            "PEM certificate chain of the https listeners.",
            |draft, text| optional_path(text).map(|it| draft.certificate = it),
        )
        .env("TS_CERTIFICATE_FILE"),
        Key::new(
            "keystore",
            form::FILE,
            None,
            "Key store of the https listeners: its first private key with a certificate is used, \
             and goes before the PEM files.",
            |draft, text| optional_path(text).map(|it| draft.keystore = it),
        )
        .env("TS_KEYSTORE"),
        Key::new(
            "keystore_pass",
            form::TEXT,
            Some("changeit"),
            "Password of the key store and of the private key in it.",
            |draft, text| {
                draft.keystore_password = Secret::new(text.to_owned());
                Ok(())
            },
        )
        .env("TS_KEYSTORE_PASS"),
        Key::new(
            "keystore_type",
            "`PKCS12` or `JKS`",
            Some("PKCS12"),
            "Format of the key store; as in Java, both are recognised whichever is named.",
            |_, text| match text.to_ascii_uppercase().as_str() {
                "PKCS12" | "JKS" => Ok(()),
                _ => Err("is not PKCS12 or JKS".to_owned()),
            },
        )
        .env("TS_KEYSTORE_TYPE"),
        Key::new(
            "client_head_timeout",
            form::SECONDS,
            Some("60"),
            "Longest time from the first byte of a request's head to its last; then 408. Not known \
             to TorchServe, like the two below.",
            |draft, text| seconds(text).map(|it| draft.config.patience.head = it),
        )
        .env("TS_CLIENT_HEAD_TIMEOUT"),
        Key::new(
            "client_progress_timeout",
            form::SECONDS,
            Some("30"),
            "Time in which the next 4 KiB of a body have to arrive, and the next of an answer to \
             leave; then 408, or the end of the connection.",
            |draft, text| seconds(text).map(|it| draft.config.patience.progress = it),
        )
        .env("TS_CLIENT_PROGRESS_TIMEOUT"),
        Key::new(
            "client_idle_timeout",
            form::SECONDS,
            Some("600"),
            "Longest pause between two requests of a connection, which is closed then. Longer than \
             the one of a load balancer in front, so that the balancer closes first.",
            |draft, text| seconds(text).map(|it| draft.config.patience.idle = it),
        )
        .env("TS_CLIENT_IDLE_TIMEOUT"),
        Key::new(
            "cors_allowed_origin",
            form::TEXT,
            None,
            "Value of `Access-Control-Allow-Origin` in every response.",
            |draft, text| header_value(text).map(|it| draft.config.cors.allow_origin = it),
        )
        .env("TS_CORS_ALLOWED_ORIGIN"),
        Key::new(
            "cors_allowed_methods",
            form::TEXT,
            None,
            "Value of `Access-Control-Allow-Methods` in every response.",
            |draft, text| header_value(text).map(|it| draft.config.cors.allow_methods = it),
        )
        .env("TS_CORS_ALLOWED_METHODS"),
        Key::new(
            "cors_allowed_headers",
            form::TEXT,
            None,
            "Value of `Access-Control-Allow-Headers` in every response.",
            |draft, text| header_value(text).map(|it| draft.config.cors.allow_headers = it),
        )
        .env("TS_CORS_ALLOWED_HEADERS"),
        Key::new(
            "grpc_inference_address",
            "host",
            Some("127.0.0.1"),
            "Host of the gRPC inference listener.",
            |draft, text| host(text).map(|it| draft.config.grpc_inference.host = it),
        )
        .env("TS_GRPC_INFERENCE_ADDRESS"),
        Key::new(
            "grpc_management_address",
            "host",
            Some("127.0.0.1"),
            "Host of the gRPC management listener.",
            |draft, text| host(text).map(|it| draft.config.grpc_management.host = it),
        )
        .env("TS_GRPC_MANAGEMENT_ADDRESS"),
        Key::new(
            "grpc_inference_port",
            "port",
            Some("7070"),
            "Port of the gRPC inference listener; 0: one that is free.",
            |draft, text| port(text).map(|it| draft.config.grpc_inference.port = it),
        )
        .env("TS_GRPC_INFERENCE_PORT"),
        Key::new(
            "grpc_management_port",
            "port",
            Some("7071"),
            "Port of the gRPC management listener; 0: one that is free.",
            |draft, text| port(text).map(|it| draft.config.grpc_management.port = it),
        )
        .env("TS_GRPC_MANAGEMENT_PORT"),
        Key::new(
            "grpc_inference_max_connection_age_ms",
            CONNECTION_AGE,
            None,
            "Longest life of a gRPC inference connection; not set: no limit.",
            |draft, text| {
                milliseconds(text, 1)
                    .map(|it| draft.config.grpc_inference.max_connection_age = Some(it))
            },
        )
        .env("TS_GRPC_INFERENCE_MAX_CONNECTION_AGE_MS"),
        Key::new(
            "grpc_inference_max_connection_age_grace_ms",
            CONNECTION_AGE,
            None,
            "Time that running calls get after that; not set: no limit.",
            |draft, text| {
                milliseconds(text, 0)
                    .map(|it| draft.config.grpc_inference.max_connection_age_grace = Some(it))
            },
        )
        .env("TS_GRPC_INFERENCE_MAX_CONNECTION_AGE_GRACE_MS"),
        Key::new(
            "grpc_management_max_connection_age_ms",
            CONNECTION_AGE,
            None,
            "Longest life of a gRPC management connection; not set: no limit.",
            |draft, text| {
                milliseconds(text, 1)
                    .map(|it| draft.config.grpc_management.max_connection_age = Some(it))
            },
        )
        .env("TS_GRPC_MANAGEMENT_MAX_CONNECTION_AGE_MS"),
        Key::new(
            "grpc_management_max_connection_age_grace_ms",
            CONNECTION_AGE,
            None,
            "Time that running calls get after that; not set: no limit.",
            |draft, text| {
                milliseconds(text, 0)
                    .map(|it| draft.config.grpc_management.max_connection_age_grace = Some(it))
            },
        )
        .env("TS_GRPC_MANAGEMENT_MAX_CONNECTION_AGE_GRACE_MS"),
        Key::new(
            "enable_grpc_ssl",
            form::BOOLEAN,
            Some("false"),
            "TLS for gRPC, from `private_key_file` and `certificate_file`.",
            |draft, text| boolean(text).map(|it| draft.config.grpc_tls = it),
        )
        .env("TS_ENABLE_GRPC_SSL"),
        Key::new(
            "use_native_io",
            form::BOOLEAN,
            Some("true"),
            "Whether the operating system's own event interface is used.",
            |_, text| boolean(text).map(drop),
        )
        .ignored("it always is"),
        Key::new(
            "io_ratio",
            "1 to 100",
            Some("50"),
            "Share of time an event loop spends on input and output.",
            |_, text| whole(text, 1, 100).map(drop),
        )
        .ignored("the event loops share their time by themselves"),
        Key::new(
            "number_of_netty_threads",
            "whole number",
            Some("0"),
            "Threads of the server; 0: half as many as CPUs, at least one.",
            |draft, text| whole(text, 0, 1024).map(|it| draft.config.worker_threads = it as usize),
        )
        .env("TS_NUMBER_OF_NETTY_THREADS"),
        Key::new(
            "netty_client_threads",
            "whole number",
            Some("0"),
            "Threads that talk to workers.",
            |_, text| whole(text, 0, INT_MAX).map(drop),
        )
        .env("TS_NETTY_CLIENT_THREADS")
        .ignored("the server's threads do that too"),
        Key::new(
            "prefer_direct_buffer",
            form::BOOLEAN,
            Some("false"),
            "Where buffers are allocated.",
            |_, text| boolean(text).map(drop),
        )
        .env("TS_PREFER_DIRECT_BUFFER")
        .ignored("request bodies are read into shared memory"),
    ],
};
