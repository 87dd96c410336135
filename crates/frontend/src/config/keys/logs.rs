//! Keys of logs: their form, what is in them, how large they get.

use super::super::LogForm;
use super::super::draft::Draft;
use super::super::value::{INT_MAX, Parsed, boolean, optional_text, whole, whole_u32};
use super::{Group, Key, form};

pub(super) const GROUP: Group = Group {
    title: "Logs and traces",
    keys: &[
        Key::new(
            "log_format",
            "`text` or `json`",
            Some("text"),
            "Lines as TorchServe writes them, or one JSON object each; `--json-logs` goes first. Not \
             known to TorchServe, like the others of this table.",
            log_form,
        )
        .env("TS_LOG_FORMAT"),
        Key::new(
            "log_level",
            "level, or `level,target=level,...`",
            None,
            "What the server log holds; the variable `TSERVE_LOG` goes first, and \
             `tserve log-level` changes it later. Not set: what `--log-config` says, else `info`.",
            |draft, text| optional_text(text).map(|it| draft.config.logs.level = it),
        )
        .env("TS_LOG_LEVEL"),
        Key::new(
            "access_log_sampling",
            "number from 0 to 1",
            Some("1"),
            "Share of the requests that the access log holds. Below 1 it still holds every error \
             and the slowest hundredth ([logs](../logs.md)).",
            sampling,
        )
        .env("TS_ACCESS_LOG_SAMPLING"),
        Key::new(
            "log_repeat_limit",
            "whole number",
            Some("100"),
            "How often the same message is written in ten seconds; then they are counted, and one \
             line says how many there were. 0: always.",
            |draft, text| {
                whole_u32(text, 0, i32::MAX as u32).map(|it| draft.config.logs.repeat_limit = it)
            },
        )
        .env("TS_LOG_REPEAT_LIMIT"),
        Key::new(
            "log_max_file_size",
            "bytes, at least 1024",
            None,
            "A log file that is larger is put aside and compressed. Not set: what `--log-config` \
             says, else 104857600.",
            |draft, text| {
                whole(text, 1024, i64::MAX as u64)
                    .map(|it| draft.config.logs.max_file_size = Some(it as usize))
            },
        )
        .env("TS_LOG_MAX_FILE_SIZE"),
        Key::new(
            "log_max_files",
            "whole number",
            None,
            "Files put aside that are kept of each log. Not set: what `--log-config` says, else 5.",
            |draft, text| {
                whole(text, 0, INT_MAX).map(|it| draft.config.logs.max_files = Some(it as usize))
            },
        )
        .env("TS_LOG_MAX_FILES"),
        Key::new(
            "log_rotate_daily",
            form::BOOLEAN,
            None,
            "Whether log files are put aside when a day has ended, too. Not set: what \
             `--log-config` says, else `true`.",
            |draft, text| boolean(text).map(|it| draft.config.logs.rotate_daily = Some(it)),
        )
        .env("TS_LOG_ROTATE_DAILY"),
        Key::new(
            "otlp_endpoint",
            "URL",
            None,
            "OpenTelemetry collector that spans of requests are sent to; not set: what the variables \
             `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` name, else none \
             ([tracing](../tracing.md)).",
            |draft, text| optional_text(text).map(|it| draft.config.otlp_endpoint = it),
        )
        .env("TS_OTLP_ENDPOINT"),
        Key::new(
            "use_client_request_id",
            form::BOOLEAN,
            Some("false"),
            "Whether a client's `X-Request-Id` becomes the id of its request, if it is 1 to 128 \
             letters, digits and `-_.:/+=@`. TorchServe always makes one itself.",
            |draft, text| boolean(text).map(|it| draft.config.use_client_request_id = it),
        )
        .env("TS_USE_CLIENT_REQUEST_ID"),
    ],
};

fn log_form(draft: &mut Draft, text: &str) -> Parsed<()> {
    draft.config.logs.form = match text.to_ascii_lowercase().as_str() {
        "text" => LogForm::Text,
        "json" => LogForm::Json,
        _ => return Err("is not text or json".to_owned()),
    };
    Ok(())
}

fn sampling(draft: &mut Draft, text: &str) -> Parsed<()> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => {
            draft.config.logs.access_sampling = share;
            Ok(())
        }
        _ => Err("is not a number from 0 to 1".to_owned()),
    }
}
