//! The words of the API description: one item per documented operation, named by `routes.rs`.
//!
//! Operation ids, parameter names, defaults (as strings, some of them not the real ones) and the
//! listed statuses are the original's, because generated clients are built from them.

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
    pub(super) kind: &'static str,
    pub(super) default: Option<&'static str>,
    pub(super) choices: &'static [&'static str],
    pub(super) is_required: bool,
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
}

const NO_MODEL: (u16, &str, Shape) = (404, "No such model or version", Shape::Error);
const FAILED: (u16, &str, Shape) = (500, "The server or the model failed", Shape::Error);
const ACCEPTED: (u16, &str, Shape) = (202, "Accepted; the work goes on", Shape::Status);
const PARTIAL: (u16, &str, Shape) = (210, "Some workers are not ready yet", Shape::Status);
const BAD: (u16, &str, Shape) = (400, "A parameter is missing or wrong", Shape::Error);

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

const fn query(
    name: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    summary: &'static str,
) -> Parameter {
    Parameter {
        name,
        summary,
        kind,
        default,
        choices: &[],
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
        "string",
        None,
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
            "integer",
            Some("100"),
            "Most models per page, up to 100.",
        ),
        query(
            "next_page_token",
            "string",
            None,
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
                "string",
                None,
                "Archive: a file of the model store, a directory or an allowed URL.",
            )
        },
        query(
            "model_name",
            "string",
            None,
            "Name; the archive's own if absent.",
        ),
        query(
            "handler",
            "string",
            None,
            "Handler; the archive's own if absent.",
        ),
        Parameter {
            choices: &["PYTHON", "PYTHON3", "LSP"],
            ..query(
                "runtime",
                "string",
                None,
                "Interpreter; the archive's own if absent.",
            )
        },
        query(
            "batch_size",
            "integer",
            Some("1"),
            "Most requests per batch.",
        ),
        query(
            "max_batch_delay",
            "integer",
            Some("100"),
            "Milliseconds that a batch may wait to fill.",
        ),
        query(
            "response_timeout",
            "integer",
            Some("2"),
            "Seconds that a worker may take for a batch.",
        ),
        query(
            "startup_timeout",
            "integer",
            Some("120"),
            "Seconds that a worker may take to load.",
        ),
        query("initial_workers", "integer", Some("0"), "Workers to start."),
        query(
            "synchronous",
            "boolean",
            Some("false"),
            "Whether to answer only when the workers are ready.",
        ),
        query(
            "s3_sse_kms",
            "boolean",
            Some("false"),
            "Whether the archive is encrypted with a KMS key in S3.",
        ),
    ],
    answers: &[
        (200, "The model is registered", Shape::Status),
        ACCEPTED,
        PARTIAL,
        BAD,
        (404, "No such archive", Shape::Error),
        (409, "The version is registered already", Shape::Error),
        FAILED,
    ],
    ..operation("post", "registerModel", "Registers a version of a model.")
};

const DESCRIBED: &[(u16, &str, Shape)] = &[
    (200, "One element per version", Shape::ModelDescription),
    NO_MODEL,
    FAILED,
];

pub(super) static DESCRIBE: Documentation = Documentation {
    answers: DESCRIBED,
    ..operation(
        "get",
        "describeModel",
        "Describes the default version of a model.",
    )
};

pub(super) static DESCRIBE_VERSION: Documentation = Documentation {
    answers: DESCRIBED,
    ..operation(
        "get",
        "version_describeModel",
        "Describes one version of a model, or `all`.",
    )
};

const SYNCHRONOUS: Parameter = query(
    "synchronous",
    "boolean",
    Some("false"),
    "Whether to answer only when it is done.",
);
const TIMEOUT: Parameter = query("timeout", "integer", Some("-1"), "Accepted and ignored.");
const SCALING: &[Parameter] = &[
    query("min_worker", "integer", Some("1"), "Fewest workers."),
    query(
        "max_worker",
        "integer",
        Some("1"),
        "Most workers; as many as the fewest if absent.",
    ),
    query("number_gpu", "integer", Some("0"), "Accepted and ignored."),
    SYNCHRONOUS,
    TIMEOUT,
];
const SCALED: &[(u16, &str, Shape)] = &[
    (200, "The workers run", Shape::Status),
    ACCEPTED,
    PARTIAL,
    BAD,
    NO_MODEL,
    FAILED,
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
    parameters: SCALING,
    answers: SCALED,
    ..operation(
        "put",
        "version_setAutoScale",
        "Sets the number of workers of one version.",
    )
};

const REMOVED: &[(u16, &str, Shape)] = &[
    (200, "The version is gone", Shape::Status),
    ACCEPTED,
    NO_MODEL,
    (408, "Its workers did not stop in time", Shape::Error),
    FAILED,
];

pub(super) static UNREGISTER: Documentation = Documentation {
    parameters: &[SYNCHRONOUS, TIMEOUT],
    answers: REMOVED,
    ..operation(
        "delete",
        "unregisterModel",
        "Removes the default version, if it is the only one.",
    )
};

pub(super) static UNREGISTER_VERSION: Documentation = Documentation {
    parameters: &[SYNCHRONOUS, TIMEOUT],
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
        "string",
        None,
        "Only samples of this name; may be repeated.",
    )],
    answers: &[(200, "All metrics", Shape::Metrics), FAILED],
    ..operation(
        "get",
        "metrics",
        "Shows the metrics in Prometheus's text format.",
    )
};
