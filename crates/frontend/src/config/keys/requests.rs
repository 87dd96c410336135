//! Keys of requests: queues, sizes, time limits, what handlers get to see.

use super::super::value::{INT_MAX, Parsed, boolean, seconds, whole};
use super::{Env, Group, Key, form};

const SIZE: &str = "bytes, 1 to 2147483647";

pub(super) const GROUP: Group = Group {
    title: "Requests",
    keys: &[
        Key::new(
            "job_queue_size",
            "1 to 2147483647",
            Some("100"),
            "Requests that may wait per model version; more are answered with 503.",
            |draft, text| {
                whole(text, 1, INT_MAX).map(|it| draft.config.job_queue_size = it as usize)
            },
        )
        .env("TS_JOB_QUEUE_SIZE"),
        Key::new(
            "max_request_size",
            SIZE,
            Some("6553500"),
            "Largest request body; larger ones are answered with 413.",
            |draft, text| whole(text, 1, INT_MAX).map(|it| draft.config.max_request_size = it),
        )
        .env("TS_MAX_REQUEST_SIZE"),
        Key::new(
            "max_response_size",
            SIZE,
            Some("6553500"),
            "Largest single reply of a worker.",
            |draft, text| whole(text, 1, INT_MAX).map(|it| draft.config.max_response_size = it),
        )
        .env("TS_MAX_RESPONSE_SIZE"),
        Key::new(
            "default_response_timeout",
            form::SECONDS,
            Some("120"),
            "Longest wait for a worker's answer, unless the model says otherwise.",
            |draft, text| seconds(text).map(|it| draft.config.default_response_timeout = it),
        )
        .env("TS_DEFAULT_RESPONSE_TIMEOUT"),
        Key::new(
            "default_startup_timeout",
            form::SECONDS,
            Some("120"),
            "Longest wait for a worker to load its model, unless the model says otherwise.",
            |draft, text| seconds(text).map(|it| draft.config.default_startup_timeout = it),
        )
        .env("TS_DEFAULT_STARTUP_TIMEOUT"),
        Key::new(
            "drain_timeout",
            form::SECONDS,
            Some("15"),
            "Longest wait for running and queued requests when the server, a model or a worker is \
             stopped. Not known to TorchServe.",
            |draft, text| seconds(text).map(|it| draft.config.drain_timeout = it),
        )
        .env("TS_DRAIN_TIMEOUT"),
        Key::new(
            "fixed_batch_delay",
            form::BOOLEAN,
            Some("false"),
            "Whether a batch that is not full always waits for its whole delay, as in TorchServe. \
             Otherwise it starts as soon as a worker is idle and every client waits for an answer, so \
             that none can add to it. Not known to TorchServe.",
            |draft, text| boolean(text).map(|it| draft.config.fixed_batch_delay = it),
        )
        .env("TS_FIXED_BATCH_DELAY"),
        Key::new(
            "stream_stall_timeout",
            form::SECONDS,
            Some("60"),
            "How long a handler that answers in parts waits for a client that takes none of them; \
             then the stream is ended. Not known to TorchServe.",
            |draft, text| seconds(text).map(|it| draft.config.stream_stall_timeout = it),
        )
        .env("TS_STREAM_STALL_TIMEOUT"),
        Key::new(
            "error_detail",
            form::BOOLEAN,
            Some("false"),
            "Whether the JSON body of a failed prediction has a member `detail` with the exception \
             of the handler, trimmed to the frames of the archive. Not known to TorchServe.",
            |draft, text| boolean(text).map(|it| draft.config.error_detail = it),
        )
        .env("TS_ERROR_DETAIL"),
        Key::new(
            "decode_input_request",
            form::BOOLEAN,
            Some("true"),
            "Whether JSON and text bodies are decoded before the handler sees them.",
            |draft, text| boolean(text).map(|it| draft.config.decode_input_request = it),
        )
        .env("TS_DECODE_INPUT_REQUEST"),
        Key::new(
            "limit_max_image_pixels",
            form::BOOLEAN,
            Some("true"),
            "Whether image handlers keep Pillow's limit on the number of pixels.",
            |draft, text| boolean(text).map(|it| draft.config.limit_max_image_pixels = it),
        )
        .env("TS_LIMIT_MAX_IMAGE_PIXELS"),
        Key::new(
            "ts_header_key_sequence_id",
            "header name",
            Some("ts_request_sequence_id"),
            "Request header that names a sequence.",
            |draft, text| header_name(text).map(|it| draft.config.sequence_headers[0] = it),
        )
        .env("TS_HEADER_KEY_SEQUENCE_ID"),
        Key::new(
            "ts_header_key_sequence_start",
            "header name",
            Some("ts_request_sequence_start"),
            "Request header that marks the first request of a sequence.",
            |draft, text| header_name(text).map(|it| draft.config.sequence_headers[1] = it),
        )
        .env("TS_HEADER_KEY_SEQUENCE_START"),
        Key::new(
            "ts_header_key_sequence_end",
            "header name",
            Some("ts_request_sequence_end"),
            "Header that marks the last request of a sequence.",
            |draft, text| header_name(text).map(|it| draft.config.sequence_headers[2] = it),
        )
        .env("TS_HEADER_KEY_SEQUENCE_END"),
        Key::new(
            "ts_open_inference_protocol",
            form::BOOLEAN,
            Some("false"),
            "The Open Inference Protocol (KServe v2) over REST and gRPC.",
            |draft, text| boolean(text).map(|it| draft.config.open_inference = it),
        )
        .env_as(Env::Switch("TS_OPEN_INFERENCE_PROTOCOL", "oip")),
    ],
};

/// The name of an HTTP header.
fn header_name(text: &str) -> Parsed<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_token) {
        Ok(text.to_owned())
    } else {
        Err("is not the name of a header".to_owned())
    }
}
