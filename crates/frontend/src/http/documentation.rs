//! The words of the API description: one item per documented operation, named by `routes.rs`.
//!
//! Operation ids and parameter names are the original's, because generated clients are built from
//! them. Where the original's description is no valid `OpenAPI` (ids that occur twice, defaults
//! of the wrong type) or is wrong (defaults, choices, statuses), this one is right. A handler can read a query
//! parameter only if it is listed here (`routes::Call::query`).

mod loggers;
mod open_inference;

pub(super) use self::loggers::{LOGGERS, SET_LOGGER};
pub(super) use self::open_inference::{
    INFER_VERSION, LIVE_V2, MODEL_METADATA, MODEL_READY, MODEL_READY_V1, MODELS_V1, MODELS_V2,
    PREDICT_V1, PREDICT_V2, READY_V2, SERVER_METADATA, VERSION_METADATA, VERSION_READY,
};

/// One documented operation.
#[derive(Debug)]
pub(super) struct Documentation {
    /// Method as listed, lower case; routes that answer any method list the usual one.
    pub(super) method: &'static str,
    /// Name of the operation in generated clients.
    pub(super) operation_id: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    /// Query parameters; those of the path come from its pattern.
    pub(super) parameters: &'static [Parameter],
    /// Whether it takes any bytes as its body.
    pub(super) takes_body: bool,
    /// Status, meaning and shape of every answer.
    pub(super) answers: &'static [(u16, &'static str, Shape)],
    /// Whether it is only kept for old clients.
    pub(super) is_deprecated: bool,
}

/// One query parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
}

/// The type of a parameter, with the default where it is always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Choice(&'static [&'static str]),
    Number(Option<i64>),
    Flag(bool),
}

/// The shape of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// An `OpenAPI` document.
    OpenApi,
    /// `{"status": ...}`
    Status,
    /// `{"code", "type", "message"}`
    Error,
    /// `{"status", "notReady": [...]}`
    Readiness,
    /// Whatever the model answers.
    Bytes,
    /// A page of models.
    ModelList,
    /// Descriptions of model versions.
    ModelDescription,
    /// Prometheus text.
    Metrics,
    /// `{"name", "ready"}`
    ModelReady,
    /// `{"models": [...]}`
    ModelNames,
    /// `{"live"}` or `{"ready"}`
    Flag(&'static str),
    /// Name, version and extensions of the server.
    ServerMetadata,
    /// Versions and tensors of a model.
    ModelMetadata,
    /// `{"loggers": [{"name", "level"}]}`
    LoggerLevels,
}

const NO_MODEL: (u16, &str, Shape) = (404, "No such model or version", Shape::Error);
const FAILED: (u16, &str, Shape) = (500, "The server or the model failed", Shape::Error);
const ACCEPTED: (u16, &str, Shape) = (202, "Accepted; the work goes on", Shape::Status);
const PARTIAL: (u16, &str, Shape) = (206, "Some workers are not ready yet", Shape::Status);
const BAD: (u16, &str, Shape) = (400, "A parameter is missing or wrong", Shape::Error);

const SWITCHED_OFF: (u16, &str, Shape) = (405, "The model API is switched off", Shape::Error);
const OVERTAKEN: (u16, &str, Shape) = (409, "The model was unregistered meanwhile", Shape::Error);
const OUT_OF_MEMORY: (u16, &str, Shape) = (507, "A worker ran out of memory", Shape::Error);

const fn operation(
    method: &'static str,
    operation_id: &'static str,
    summary: &'static str,
) -> Documentation {
    Documentation {
        method,
        operation_id,
        summary,
        parameters: &[],
        takes_body: false,
        answers: &[],
        is_deprecated: false,
    }
}

const fn query(name: &'static str, kind: Kind, summary: &'static str) -> Parameter {
    Parameter {
        name,
        summary,
        kind,
        is_required: false,
    }
}

pub(super) static DESCRIPTION: Documentation = Documentation {
    answers: &[(200, "An OpenAPI 3.0.1 document", Shape::OpenApi), FAILED],
    ..operation(
        "options",
        "apiDescription",
        "Describes the API of this listener.",
    )
};

pub(super) static OLD_DESCRIPTION: Documentation = Documentation {
    answers: &[(200, "An OpenAPI 3.0.1 document", Shape::OpenApi), FAILED],
    is_deprecated: true,
    ..operation(
        "get",
        "api-description",
        "Describes the API of this listener; use OPTIONS /.",
    )
};

pub(super) static PING: Documentation = Documentation {
    answers: &[
        (200, "Whether every model has its workers", Shape::Status),
        FAILED,
    ],
    ..operation("get", "ping", "Tells whether the server is healthy.")
};

const NOT_READY: (u16, &str, Shape) = (503, "Which models are not, and why", Shape::Readiness);

pub(super) static LIVE: Documentation = Documentation {
    answers: &[(200, "The server answers", Shape::Status)],
    ..operation("get", "livez", "Tells that the server is alive.")
};

pub(super) static READY: Documentation = Documentation {
    parameters: &[query(
        "model",
        Kind::Text,
        "Only this model, whether it was named at start or not.",
    )],
    answers: &[
        (200, "All models are ready", Shape::Readiness),
        NO_MODEL,
        NOT_READY,
    ],
    ..operation(
        "get",
        "readyz",
        "Tells whether every model named at start is registered and has its workers loaded.",
    )
};

pub(super) static STARTED: Documentation = Documentation {
    answers: &[
        (200, "Every model has been ready", Shape::Readiness),
        NOT_READY,
    ],
    ..operation(
        "get",
        "startupz",
        "Tells whether every model named at start has been ready once.",
    )
};

const PREDICTED: &[(u16, &str, Shape)] = &[
    (200, "What the model answers", Shape::Bytes),
    NO_MODEL,
    FAILED,
    (503, "No worker is free or the queue is full", Shape::Error),
];

pub(super) static PREDICT: Documentation = Documentation {
    takes_body: true,
    answers: PREDICTED,
    ..operation(
        "post",
        "predictions",
        "Asks the default version of a model.",
    )
};

pub(super) static PREDICT_VERSION: Documentation = Documentation {
    takes_body: true,
    answers: PREDICTED,
    ..operation(
        "post",
        "version_predictions",
        "Asks one version of a model.",
    )
};

pub(super) static LIST: Documentation = Documentation {
    parameters: &[
        query(
            "limit",
            Kind::Number(Some(100)),
            "Most models per page, up to 100.",
        ),
        query(
            "next_page_token",
            Kind::Text,
            "Where the page starts: the token of the page before.",
        ),
    ],
    answers: &[(200, "One page of models", Shape::ModelList), FAILED],
    ..operation("get", "listModels", "Lists registered models by name.")
};

pub(super) static REGISTER: Documentation = Documentation {
    parameters: &[
        Parameter {
            is_required: true,
            ..query(
                "url",
                Kind::Text,
                "Archive: a file of the model store, a directory or an allowed URL.",
            )
        },
        query(
            "model_name",
            Kind::Text,
            "Name; the archive's own if absent.",
        ),
        query(
            "handler",
            Kind::Text,
            "Handler; the archive's own if absent.",
        ),
        query(
            "runtime",
            Kind::Choice(&["python", "python3"]),
            "Interpreter; the archive's own if absent.",
        ),
        query(
            "batch_size",
            Kind::Number(None),
            "Most requests per batch; the archive's own, or 1, if absent.",
        ),
        query(
            "max_batch_delay",
            Kind::Number(None),
            "Milliseconds that a batch may wait to fill; the archive's own, or 100, if absent.",
        ),
        query(
            "response_timeout",
            Kind::Number(None),
            "Seconds that a worker may take for a batch; the configured time if absent.",
        ),
        query(
            "startup_timeout",
            Kind::Number(None),
            "Seconds that a worker may take to load; the configured time if absent.",
        ),
        query(
            "initial_workers",
            Kind::Number(None),
            "Workers to start, unless the archive says; the configured number if absent.",
        ),
        query(
            "synchronous",
            Kind::Flag(true),
            "Whether to answer only when the workers are ready.",
        ),
        query(
            "s3_sse_kms",
            Kind::Flag(false),
            "Whether the archive is encrypted with a KMS key in S3.",
        ),
        query(
            "checksum",
            Kind::Text,
            "Digest that the archive must have: sha256:...",
        ),
    ],
    answers: &[
        (200, "The model is registered", Shape::Status),
        ACCEPTED,
        PARTIAL,
        BAD,
        (404, "No such archive", Shape::Error),
        SWITCHED_OFF,
        (
            409,
            "The version is registered already, or was removed while its workers loaded",
            Shape::Error,
        ),
        FAILED,
        OUT_OF_MEMORY,
    ],
    ..operation("post", "registerModel", "Registers a version of a model.")
};

const DESCRIBED: &[(u16, &str, Shape)] = &[
    (200, "One element per version", Shape::ModelDescription),
    NO_MODEL,
    FAILED,
    (503, "No worker to ask for metadata", Shape::Error),
];

const CUSTOMIZED: &[Parameter] = &[
    query(
        "customized",
        Kind::Flag(false),
        "Whether to ask the handler for metadata of its own.",
    ),
    query(
        "failures",
        Kind::Flag(false),
        "Whether to list the last failures of workers and handler.",
    ),
];

pub(super) static DESCRIBE: Documentation = Documentation {
    parameters: CUSTOMIZED,
    answers: DESCRIBED,
    ..operation(
        "get",
        "describeModel",
        "Describes the default version of a model.",
    )
};

pub(super) static DESCRIBE_VERSION: Documentation = Documentation {
    parameters: CUSTOMIZED,
    answers: DESCRIBED,
    ..operation(
        "get",
        "version_describeModel",
        "Describes one version of a model, or `all`.",
    )
};

const MIN_WORKER: Parameter = query("min_worker", Kind::Number(Some(1)), "Fewest workers.");
const MAX_WORKER: Parameter = query(
    "max_worker",
    Kind::Number(None),
    "Most workers; as many as the fewest if absent.",
);
const NUMBER_GPU: Parameter = query("number_gpu", Kind::Number(Some(0)), "Accepted and ignored.");
const SYNCHRONOUS: Parameter = query(
    "synchronous",
    Kind::Flag(false),
    "Whether to answer only when it is done.",
);
const TIMEOUT: Parameter = query(
    "timeout",
    Kind::Number(Some(-1)),
    "Seconds that workers which stop may take for requests that run or wait; -1 means the configured time.",
);
const SCALING_VERSION: &[Parameter] = &[MIN_WORKER, MAX_WORKER, NUMBER_GPU, SYNCHRONOUS, TIMEOUT];
const SCALING: &[Parameter] = &[
    MIN_WORKER,
    MAX_WORKER,
    NUMBER_GPU,
    SYNCHRONOUS,
    TIMEOUT,
    query(
        "model_version",
        Kind::Text,
        "Version; the default one if absent.",
    ),
];
const REMOVING: &[Parameter] = &[
    query(
        "synchronous",
        Kind::Flag(true),
        "Accepted and ignored: it is always synchronous.",
    ),
    TIMEOUT,
];
const SCALED: &[(u16, &str, Shape)] = &[
    (200, "The workers run", Shape::Status),
    ACCEPTED,
    PARTIAL,
    BAD,
    NO_MODEL,
    OVERTAKEN,
    FAILED,
    OUT_OF_MEMORY,
];

pub(super) static SCALE: Documentation = Documentation {
    parameters: SCALING,
    answers: SCALED,
    ..operation(
        "put",
        "setAutoScale",
        "Sets the number of workers of the default version.",
    )
};

pub(super) static SCALE_VERSION: Documentation = Documentation {
    parameters: SCALING_VERSION,
    answers: SCALED,
    ..operation(
        "put",
        "version_setAutoScale",
        "Sets the number of workers of one version.",
    )
};

const REMOVED: &[(u16, &str, Shape)] = &[
    (200, "The version is gone", Shape::Status),
    (
        403,
        "It is the default version, and there are others",
        Shape::Error,
    ),
    NO_MODEL,
    SWITCHED_OFF,
    (408, "Its workers did not stop in time", Shape::Error),
    FAILED,
];

pub(super) static UNREGISTER: Documentation = Documentation {
    parameters: REMOVING,
    answers: REMOVED,
    ..operation(
        "delete",
        "unregisterModel",
        "Removes the default version, if it is the only one.",
    )
};

pub(super) static UNREGISTER_VERSION: Documentation = Documentation {
    parameters: REMOVING,
    answers: REMOVED,
    ..operation(
        "delete",
        "version_unregisterModel",
        "Removes one version of a model.",
    )
};

pub(super) static SET_DEFAULT: Documentation = Documentation {
    answers: &[
        (200, "The default version has changed", Shape::Status),
        NO_MODEL,
        FAILED,
    ],
    ..operation("put", "setDefault", "Makes a version the default one.")
};

pub(super) static METRICS: Documentation = Documentation {
    parameters: &[query(
        "name[]",
        Kind::Text,
        "Only samples of this name; may be repeated.",
    )],
    answers: &[(200, "All metrics", Shape::Metrics), FAILED],
    ..operation(
        "get",
        "metrics",
        "Shows the metrics in Prometheus's text format.",
    )
};
