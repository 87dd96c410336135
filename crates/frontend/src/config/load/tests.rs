use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::config::{Address, MetricsMode, StartupModels};

/// A config file in a folder of its own and an environment.
struct Scene {
    folder: tempfile::TempDir,
    environment: HashMap<String, String>,
    flags: Vec<Override>,
    gpus: u32,
}

impl Scene {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("c.properties"), text).unwrap();
        Self {
            folder,
            environment: HashMap::new(),
            flags: Vec::new(),
            gpus: 0,
        }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, flag: &'static str, key: &'static str, value: &str) -> Self {
        let value = value.to_owned();
        self.flags.push(Override { flag, key, value });
        self
    }

    fn gpus(mut self, gpus: u32) -> Self {
        self.gpus = gpus;
        self
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&Sources {
            file: Some(&self.folder.path().join("c.properties")),
            flags: &self.flags,
            environment: &|name| self.environment.get(name).cloned(),
            count_gpus: &|| self.gpus,
        })
    }

    fn config(&self) -> Config {
        self.load().unwrap().config
    }

    /// The message without the folder.
    fn error(&self) -> String {
        let folder = format!("{}/", self.folder.path().display());
        self.load().unwrap_err().to_string().replace(&folder, "")
    }

    fn warnings(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let warnings = self.load().unwrap().warnings;
        warnings.iter().map(|it| it.replace(&folder, "")).collect()
    }
}

#[test]
fn nothing_but_defaults_is_a_configuration() {
    let config = Scene::new("").config();
    assert_eq!(
        config.inference_address.to_string(),
        "http://127.0.0.1:8080"
    );
    assert_eq!(
        config.metrics_address.unwrap().to_string(),
        "http://127.0.0.1:8082"
    );
    assert_eq!(config.job_queue_size, 100);
    assert_eq!(config.max_request_size, 6_553_500);
    assert_eq!(config.default_response_timeout, Duration::from_secs(120));
    assert!(config.decode_input_request && config.limit_max_image_pixels);
    assert!(!config.enable_model_api && !config.disable_token_authorization);
    assert!(config.allowed_urls[0].is_match("HTTPS://host/a.mar"));
    assert_eq!(config.sequence_headers[2], "ts_request_sequence_end");
    assert_eq!(config.log_location, Path::new("logs"));
}

#[test]
fn the_syntax_is_that_of_java_properties() {
    let text = "# comment\n! comment\n\
        job_queue_size = 7\n\
        max_request_size:8\n\
        default_service_handler a\\\n   b\\tc\n\
        service_envelope=\\u006ason\n\
        cors_allowed_origin=http\\://x\r\n";
    let config = Scene::new(text).config();
    assert_eq!((config.job_queue_size, config.max_request_size), (7, 8));
    assert_eq!(config.default_service_handler.as_deref(), Some("ab\tc"));
    assert_eq!(config.service_envelope.as_deref(), Some("json"));
    assert_eq!(config.cors.allow_origin.as_deref(), Some("http://x"));
}

#[test]
fn files_in_either_encoding_are_read() {
    let utf8 = Scene::new("default_service_handler=h\u{e4}ndler\n").config();
    let latin = Scene::new(b"default_service_handler=h\xe4ndler\n").config();
    assert_eq!(utf8.default_service_handler, latin.default_service_handler);
}

#[test]
fn a_mistake_names_file_line_key_value_and_what_is_allowed() {
    assert_eq!(
        Scene::new("\n# x\njob_queue_size=abc\n").error(),
        "c.properties:3: job_queue_size: \"abc\" is not a whole number from 1 to 2147483647"
    );
    assert_eq!(
        Scene::new("models={\\\n\"a\":1}\n").error(),
        "c.properties:1: models: \"{\"a\":1}\" has no object of versions for model \"a\""
    );
    assert_eq!(
        Scene::new("x=\\u00zz\n").error(),
        "c.properties:1: is not in the format of Java properties: a \\u needs four hexadecimal \
         digits"
    );
    assert_eq!(
        Scene::new("a=b\nmodel_store=$$NO_SUCH$$/x\n").error(),
        "c.properties:2: model_store: the environment variable NO_SUCH is not set"
    );
    assert_eq!(
        Scene::new("").flag("--models", "load_models", "a=").error(),
        "--models: load_models: \"a=\" names no archive for model \"a\""
    );
    assert_eq!(
        Scene::new("enable_envvars_config=true")
            .env("TS_ENABLE_MODEL_API", "on")
            .error(),
        "environment variable TS_ENABLE_MODEL_API: enable_model_api: \"on\" is not true or false"
    );
}

#[test]
fn unknown_and_repeated_keys_are_warned_about() {
    assert_eq!(
        Scene::new("job_queue_sise=1\nelse=2\njob_queue_size=3\njob_queue_size=4").warnings(),
        [
            "c.properties:1: unknown key job_queue_sise; did you mean job_queue_size?",
            "c.properties:2: unknown key else",
            "c.properties:4: job_queue_size is there twice; this line counts, not line 3",
        ]
    );
}

#[test]
fn keys_without_effect_are_warned_about_by_name_unless_at_their_default() {
    assert_eq!(
        Scene::new(
            "initial_distribution_port=9\ncpu_launcher_enable=false\nvmargs=-Xmx1g\nversion=0.12.0\n\
             models={\"a\":{\"1.0\":{\"batchSize\":\"x\"}}}"
        )
        .warnings(),
        [
            "c.properties:1: initial_distribution_port has no effect: all workers are numbered \
             alike, and ranks find each other on a free port",
            "c.properties:3: vmargs has no effect: tserve runs without Java",
            "c.properties:5: models: model a:1.0, parameter batchSize: \"x\" is not a whole number \
             from 1 to 2147483647; it is ignored",
        ]
    );
}

#[test]
fn flags_beat_the_file_and_the_environment_beats_flags_when_enabled() {
    let text = "load_models=file.mar\n";
    let flagged = Scene::new(text).flag("--models", "load_models", "all");
    assert_eq!(flagged.config().startup_models, StartupModels::All);
    let enabled = Scene::new(format!("{text}enable_envvars_config=TRUE\n"))
        .flag("--models", "load_models", "all")
        .env("TS_LOAD_MODELS", "standalone");
    assert_eq!(enabled.config().startup_models, StartupModels::None);
}

#[test]
fn variables_without_the_switch_have_no_effect_and_are_mentioned() {
    let scene = Scene::new("").env("TS_JOB_QUEUE_SIZE", "5");
    assert_eq!(scene.config().job_queue_size, 100);
    assert_eq!(
        scene.warnings(),
        [
            "environment variable TS_JOB_QUEUE_SIZE has no effect: the config file does not have \
          enable_envvars_config=true"
        ]
    );
}

#[test]
fn allowed_urls_from_the_environment_need_a_second_switch() {
    let closed = Scene::new("enable_envvars_config=true").env("TS_ALLOWED_URLS", "s3://.*");
    assert!(!closed.config().allowed_urls[0].is_match("s3://a"));
    assert_eq!(closed.warnings().len(), 1);
    let open = Scene::new("enable_envvars_config=true\nuse_env_allowed_urls=true")
        .env("TS_ALLOWED_URLS", "s3://.*");
    assert!(open.config().allowed_urls[0].is_match("s3://a"));
}

#[test]
fn gpus_are_limited_to_those_found_except_by_the_environment() {
    assert_eq!(Scene::new("").gpus(3).config().number_of_gpu, 3);
    assert_eq!(
        Scene::new("number_of_gpu=2").gpus(3).config().number_of_gpu,
        2
    );
    assert_eq!(
        Scene::new("number_of_gpu=8").gpus(3).config().number_of_gpu,
        3
    );
    assert_eq!(
        Scene::new("number_of_gpu=0").gpus(3).config().number_of_gpu,
        0
    );
    let beyond = Scene::new("enable_envvars_config=true").env("TS_NUMBER_OF_GPU", "5");
    assert_eq!(beyond.config().number_of_gpu, 5);
}

#[test]
fn values_may_refer_to_the_environment() {
    let config = Scene::new("inference_address=http://$$HERE$$:81")
        .env("HERE", "127.0.0.2")
        .config();
    assert_eq!(config.inference_address.to_string(), "http://127.0.0.2:81");
}

#[test]
fn tokens_expire_after_minutes_and_their_fractions() {
    assert_eq!(
        Scene::new("").config().token_lifetime,
        Duration::from_secs(3600)
    );
    let short = Scene::new("token_expiration_min=0.1").config();
    assert_eq!(short.token_lifetime, Duration::from_secs(6));
    let long = Scene::new("token_expiration_min=1e300").config();
    assert!(long.token_lifetime > Duration::from_secs(3600 * 24 * 365));
    for nonsense in ["0", "-1", "inf", "NaN", "soon"] {
        let error = Scene::new(format!("token_expiration_min={nonsense}")).error();
        assert!(
            error.ends_with("is not a number of minutes above 0"),
            "{error}"
        );
    }
    let public = "management_address=http://0.0.0.0:8081\n";
    assert!(Scene::new(public).warnings().is_empty());
}

#[test]
fn static_tokens_come_from_the_environment() {
    let scene = Scene::new("").env("TSERVE_INFERENCE_TOKEN", "mine");
    let tokens = scene.config().static_tokens;
    assert!(tokens.inference.is_some() && tokens.management.is_none());
}

#[test]
fn metrics_may_share_a_listener_or_have_none() {
    let same = "metrics_address=http://127.0.0.1:8080\n";
    let config = Scene::new(same).config();
    assert_eq!(config.metrics_address, Some(config.inference_address));
    let off = Scene::new(format!("{same}enable_metrics_api=false")).config();
    assert_eq!(off.metrics_address, None);
}

#[test]
fn incomplete_tls_material_is_refused() {
    let https = "inference_address=https://127.0.0.1:8443\n";
    assert!(matches!(
        Scene::new(https).config().inference_address,
        Address::Tcp { tls: true, .. }
    ));
    for (more, expected) in [
        (
            "private_key_file=/k",
            "private_key_file is set without certificate_file",
        ),
        (
            "certificate_file=/c",
            "certificate_file is set without private_key_file",
        ),
        ("keystore=/s", "/s is not a file"),
        (
            "private_key_file=/no/k\ncertificate_file=/no/c",
            "/no/k is not a file",
        ),
    ] {
        let error = Scene::new(format!("{https}{more}")).error();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_missing_file_is_an_error_and_log_folders_come_from_the_environment() {
    let scene = Scene::new("metrics_mode= Prometheus")
        .env("LOG_LOCATION", "/l")
        .env("METRICS_LOCATION", "/m");
    let config = scene.config();
    assert_eq!(config.metrics_mode, MetricsMode::Prometheus);
    assert_eq!(
        (config.log_location, config.metrics_location),
        ("/l".into(), "/m".into())
    );
    let missing = load(&Sources {
        file: Some(Path::new("/no/such.properties")),
        flags: &[],
        environment: &|_| None,
        count_gpus: &|| 0,
    });
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .starts_with("/no/such.properties: cannot be read")
    );
}

#[test]
fn a_snapshot_is_read_as_a_config_file() {
    let text = "#Saving snapshot\n#Fri Mar 07 14:05:09 UTC 2025\n\
        inference_address=http\\://127.0.0.1\\:18080\n\
        model_snapshot={\\n  \"name\"\\: \"startup.cfg\",\\n  \"modelCount\"\\: 0\\n}\n\
        tsConfigFile=config.properties\nversion=0.12.0\n";
    let scene = Scene::new(text);
    assert_eq!(
        scene.config().inference_address.to_string(),
        "http://127.0.0.1:18080"
    );
    assert!(scene.load().unwrap().is_snapshot);
    assert_eq!(
        scene.warnings(),
        ["c.properties:4: the snapshot has no models: none are loaded"]
    );
}

#[test]
fn the_open_inference_protocol_is_switched_by_one_word() {
    let is_on = |file: &str, value: &str| {
        let scene = Scene::new(file).env("TS_OPEN_INFERENCE_PROTOCOL", value);
        scene.config().open_inference
    };
    let asked_for = "ts_open_inference_protocol=true\n";
    assert!(is_on("", "oip") && Scene::new(asked_for).config().open_inference);
    assert!(!is_on(asked_for, "anything") && !is_on("", ""));
}
