//! Keys of metrics and of the server itself.

use super::super::draft::Draft;
use super::super::value::{Parsed, boolean, optional_path, optional_text, seconds};
use super::super::{MetricsMode, PingSemantics, PlatformName};
use super::{Env, Group, Key, form};

pub(super) const LOGS_AND_METRICS: Group = Group {
    title: "Logs and metrics",
    keys: &[
        Key::new(
            "metrics_mode",
            "`log`, `prometheus` or `legacy`",
            Some("log"),
            "Where metrics go.",
            metrics_mode,
        )
        .env("TS_METRICS_MODE"),
        Key::new(
            "metrics_config",
            form::FILE,
            None,
            "Metric definitions, also passed to workers; not set: the built-in ones.",
            |draft, text| optional_path(text).map(|it| draft.config.metrics_config = it),
        )
        .env("TS_METRICS_CONFIG"),
        Key::new(
            "model_metrics_auto_detect",
            form::BOOLEAN,
            Some("false"),
            "Whether metrics of handlers are accepted that no definition names.",
            |draft, text| boolean(text).map(|it| draft.config.model_metrics_auto_detect = it),
        )
        .env("TS_MODEL_METRICS_AUTO_DETECT"),
        Key::new(
            "disable_system_metrics",
            form::BOOLEAN,
            Some("false"),
            "Whether figures of the machine are left out.",
            |draft, text| boolean(text).map(|it| draft.config.disable_system_metrics = it),
        )
        .env("TS_DISABLE_SYSTEM_METRICS"),
        Key::new(
            "metric_time_interval",
            form::SECONDS,
            Some("60"),
            "How often figures of the machine are taken.",
            |draft, text| seconds(text).map(|it| draft.config.metric_time_interval = it),
        ),
        Key::new(
            "system_metrics_cmd",
            "command",
            None,
            "Script and arguments, run by the workers' interpreter, that take figures of the machine \
             instead of the server.",
            |draft, text| optional_text(text).map(|it| draft.config.system_metrics_cmd = it),
        ),
        Key::new(
            "extended_metrics",
            form::BOOLEAN,
            Some("false"),
            "Whether `/metrics` shows the metrics of tserve beside those of TorchServe; \
             `/metrics/tserve` always has them. Not known to TorchServe.",
            |draft, text| boolean(text).map(|it| draft.config.extended_metrics = it),
        )
        .env("TS_EXTENDED_METRICS"),
        Key::new(
            "request_metrics",
            form::BOOLEAN,
            Some("true"),
            "Whether requests are counted and timed; without it the metrics pages hold only what \
             handlers, workers and the machine are measured by. `make bench-observed` shows what it \
             costs. Not known to TorchServe.",
            |draft, text| boolean(text).map(|it| draft.config.request_metrics = it),
        )
        .env("TS_REQUEST_METRICS"),
        Key::new(
            "server_timing",
            form::BOOLEAN,
            Some("false"),
            "Whether predictions are answered with a `Server-Timing` header that says where the time \
             went. Not known to TorchServe.",
            |draft, text| boolean(text).map(|it| draft.config.server_timing = it),
        )
        .env("TS_SERVER_TIMING"),
        Key::new(
            "async_logging",
            form::BOOLEAN,
            Some("false"),
            "Whether logs are written by a thread of their own.",
            |_, text| boolean(text).map(drop),
        )
        .env("TS_ASYNC_LOGGING")
        .ignored("they always are"),
    ],
};

pub(super) const GROUP: Group = Group {
    title: "The server itself",
    keys: &[
        Key::new(
            "enable_envvars_config",
            form::BOOLEAN,
            Some("false"),
            "Whether environment variables set keys; they go before the file and the flags.",
            |draft, text| boolean(text).map(|it| draft.enable_envvars_config = it),
        ),
        Key::new(
            "ping_semantics",
            "`compat` or `strict`",
            Some("compat"),
            "What `/ping` means: as TorchServe's, or the same as `/readyz`. Not known to TorchServe.",
            ping_semantics,
        )
        .env("TS_PING_SEMANTICS"),
        Key::new(
            "platform",
            "`none`, `sagemaker`, `vertex` or `kserve`",
            Some("none"),
            "The hosting platform whose contract the server follows; it changes the defaults of \
             addresses, models, tokens and `ping_semantics`, see docs/platforms.md. Not known to \
             TorchServe.",
            platform,
        )
        .env_as(Env::Always("TS_PLATFORM")),
        Key::new(
            "model_server_home",
            form::FOLDER,
            None,
            "Folder that TorchServe is installed in.",
            |_, text| optional_path(text).map(drop),
        )
        .env_as(Env::Always("TS_MODEL_SERVER_HOME"))
        .ignored("tserve needs no home folder"),
        Key::new(
            "vmargs",
            form::TEXT,
            None,
            "Arguments of the Java virtual machine.",
            |_, text| optional_text(text).map(drop),
        )
        .ignored("tserve runs without Java"),
        Key::new(
            "plugins_path",
            "path",
            None,
            "Java class path of plug-ins.",
            |_, text| optional_text(text).map(drop),
        )
        .ignored("TorchServe's plug-ins are Java classes, which tserve cannot load"),
        Key::new(
            "version",
            form::TEXT,
            None,
            "Version of the server that wrote a snapshot.",
            |_, text| optional_text(text).map(drop),
        )
        .record(),
        Key::new(
            "tsConfigFile",
            form::FILE,
            None,
            "Config file of the server that wrote a snapshot.",
            |_, text| optional_text(text).map(drop),
        )
        .record(),
    ],
};

fn metrics_mode(draft: &mut Draft, text: &str) -> Parsed<()> {
    let word: String = text.chars().filter(|it| !it.is_whitespace()).collect();
    draft.config.metrics_mode = match word.to_ascii_lowercase().as_str() {
        "log" => MetricsMode::Log,
        "prometheus" => MetricsMode::Prometheus,
        "legacy" => MetricsMode::Legacy,
        _ => return Err("is not log, prometheus or legacy".to_owned()),
    };
    Ok(())
}

fn platform(draft: &mut Draft, text: &str) -> Parsed<()> {
    draft.platform = match text.to_ascii_lowercase().as_str() {
        "none" => PlatformName::None,
        "sagemaker" => PlatformName::SageMaker,
        "vertex" => PlatformName::Vertex,
        "kserve" => PlatformName::KServe,
        _ => return Err("is not none, sagemaker, vertex or kserve".to_owned()),
    };
    Ok(())
}

fn ping_semantics(draft: &mut Draft, text: &str) -> Parsed<()> {
    draft.config.ping_semantics = match text.to_ascii_lowercase().as_str() {
        "compat" => PingSemantics::Compat,
        "strict" => PingSemantics::Strict,
        _ => return Err("is not compat or strict".to_owned()),
    };
    Ok(())
}
