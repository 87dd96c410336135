//! Keys of models: where they come from, which are loaded, who may change them.

use super::super::overrides;
use super::super::snapshot::ModelSnapshot;
use super::super::value::{
    boolean, optional_path, optional_text, seconds, startup_models, whole_u32,
};
use super::{Group, Key, form};

pub(super) const GROUP: Group = Group {
    title: "Models",
    keys: &[
        Key::new(
            "model_store",
            form::FOLDER,
            None,
            "Folder of the model archives; `--model-store` goes first.",
            |draft, text| optional_path(text).map(|it| draft.config.model_store = it),
        )
        .env("TS_MODEL_STORE"),
        Key::new(
            "load_models",
            "`all`, or `[name=]archive` separated by commas",
            None,
            "Models loaded when the server starts; `--models` goes first.",
            |draft, text| startup_models(text).map(|it| draft.config.startup_models = it),
        )
        .env("TS_LOAD_MODELS"),
        Key::new(
            "models",
            "JSON",
            None,
            "Settings per model and version: `{\"name\": {\"1.0\": {\"minWorkers\": 1, \
             \"maxWorkers\": 2, \"batchSize\": 4, \"maxBatchDelay\": 50, \"responseTimeout\": 120, \
             \"startupTimeout\": 120, \"runtimeType\": \"python\"}}}`. Values of 0 and less mean \
             \"not set\".",
            |draft, text| {
                overrides::parse(text, &mut draft.warnings)
                    .map(|it| draft.config.model_overrides = it)
            },
        ),
        Key::new(
            "model_snapshot",
            "JSON",
            None,
            "Models that a server had when it wrote this file, a snapshot. They are loaded as they \
             were served then, unless `--models` names others; `load_models` is not used.",
            |draft, text| ModelSnapshot::parse(text).map(|it| draft.restored = Some(it)),
        ),
        Key::new(
            "default_workers_per_model",
            "0 to 65535",
            Some("0"),
            "Workers of a model that names no number itself; 0: for models loaded at start one per \
             GPU, else per CPU, and none for models registered later.",
            |draft, text| {
                whole_u32(text, 0, 65535).map(|it| draft.config.default_workers_per_model = it)
            },
        )
        .env("TS_DEFAULT_WORKERS_PER_MODEL"),
        Key::new(
            "enable_model_api",
            form::BOOLEAN,
            Some("false"),
            "Whether models may be registered and unregistered over the API; \
             `--enable-model-api` switches it on.",
            |draft, text| boolean(text).map(|it| draft.config.enable_model_api = it),
        )
        .env("TS_ENABLE_MODEL_API"),
        Key::new(
            "install_py_dep_per_model",
            form::BOOLEAN,
            Some("false"),
            "Whether the requirements file of an archive is installed before its workers start.",
            |draft, text| boolean(text).map(|it| draft.config.install_py_dep_per_model = it),
        )
        .env("TS_INSTALL_PY_DEP_PER_MODEL"),
        Key::new(
            "wheel_folder",
            form::FOLDER,
            None,
            "Folder of wheels that requirements are installed from, and from nowhere else: for \
             machines without a network. Not known to TorchServe.",
            |draft, text| optional_path(text).map(|it| draft.config.wheel_folder = it),
        )
        .env("TS_WHEEL_FOLDER"),
        Key::new(
            "venv_folder",
            form::FOLDER,
            None,
            "Folder that virtual environments of models (`useVenv`) are kept in from one start to \
             the next, the 16 used last if nobody uses them; not set: they go with the server. Not \
             known to TorchServe.",
            |draft, text| optional_path(text).map(|it| draft.config.venv_folder = it),
        )
        .env("TS_VENV_FOLDER"),
        Key::new(
            "default_service_handler",
            form::TEXT,
            None,
            "Handler of archives that name none.",
            |draft, text| optional_text(text).map(|it| draft.config.default_service_handler = it),
        )
        .env("TS_DEFAULT_SERVICE_HANDLER"),
        Key::new(
            "service_envelope",
            "`body`, `json`, `kserve`, `kservev2` or a module",
            None,
            "Request envelope of every model.",
            |draft, text| optional_text(text).map(|it| draft.config.service_envelope = it),
        )
        .env("TS_SERVICE_ENVELOPE"),
        Key::new(
            "unregister_model_timeout",
            form::SECONDS,
            Some("120"),
            "Longest wait for the workers of an unregistered model to end.",
            |draft, text| seconds(text).map(|it| draft.config.unregister_model_timeout = it),
        )
        .env("TS_UNREGISTER_MODEL_TIMEOUT"),
        Key::new(
            "workflow_store",
            form::FOLDER,
            None,
            "Folder of the workflow archives; not set: the model store.",
            |_, text| optional_path(text).map(drop),
        )
        .env("TS_WORKFLOW_STORE")
        .planned("workflows"),
    ],
};
