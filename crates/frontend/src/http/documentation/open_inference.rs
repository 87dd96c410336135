//! The words of KServe v1 and of the Open Inference Protocol.

use super::{Documentation, NO_MODEL, PREDICTED, Shape, operation};

pub(in crate::http) static PREDICT_V1: Documentation = Documentation {
    takes_body: true,
    answers: PREDICTED,
    ..operation(
        "post",
        "v1_predictions",
        "Asks the default version of a model.",
    )
};

pub(in crate::http) static PREDICT_V2: Documentation = Documentation {
    takes_body: true,
    answers: PREDICTED,
    ..operation(
        "post",
        "v2_predictions",
        "Asks the default version of a model.",
    )
};

pub(in crate::http) static INFER_VERSION: Documentation = Documentation {
    takes_body: true,
    answers: PREDICTED,
    ..operation("post", "v2_infer_version", "Asks one version of a model.")
};

const MODEL_READY_ANSWERS: &[(u16, &str, Shape)] = &[
    (200, "It is ready", Shape::ModelReady),
    NO_MODEL,
    (503, "It is not", Shape::ModelReady),
];

pub(in crate::http) static MODELS_V1: Documentation = Documentation {
    answers: &[(200, "Names of the models", Shape::ModelNames)],
    ..operation("get", "v1_models", "Lists the models.")
};

pub(in crate::http) static MODEL_READY_V1: Documentation = Documentation {
    answers: MODEL_READY_ANSWERS,
    ..operation("get", "v1_model_ready", "Tells whether a model is ready.")
};

pub(in crate::http) static MODELS_V2: Documentation = Documentation {
    answers: &[(200, "Names of the models", Shape::ModelNames)],
    ..operation("get", "v2_models", "Lists the models.")
};

pub(in crate::http) static SERVER_METADATA: Documentation = Documentation {
    answers: &[(200, "The server", Shape::ServerMetadata)],
    ..operation("get", "v2_server", "Tells what the server is.")
};

pub(in crate::http) static LIVE_V2: Documentation = Documentation {
    answers: &[(200, "The server answers", Shape::Flag("live"))],
    ..operation("get", "v2_live", "Tells that the server is alive.")
};

pub(in crate::http) static READY_V2: Documentation = Documentation {
    answers: &[
        (200, "All models are ready", Shape::Flag("ready")),
        (503, "Some are not", Shape::Flag("ready")),
    ],
    ..operation(
        "get",
        "v2_ready",
        "Tells whether every model named at start has its workers loaded.",
    )
};

pub(in crate::http) static MODEL_METADATA: Documentation = Documentation {
    answers: &[(200, "The model", Shape::ModelMetadata), NO_MODEL],
    ..operation(
        "get",
        "v2_model",
        "Tells the versions of a model, and its tensors where the archive declares them.",
    )
};

pub(in crate::http) static VERSION_METADATA: Documentation = Documentation {
    answers: &[(200, "The model", Shape::ModelMetadata), NO_MODEL],
    ..operation(
        "get",
        "v2_version",
        "Tells the tensors of one version of a model, where the archive declares them.",
    )
};

pub(in crate::http) static MODEL_READY: Documentation = Documentation {
    answers: MODEL_READY_ANSWERS,
    ..operation("get", "v2_model_ready", "Tells whether a model is ready.")
};

pub(in crate::http) static VERSION_READY: Documentation = Documentation {
    answers: MODEL_READY_ANSWERS,
    ..operation(
        "get",
        "v2_version_ready",
        "Tells whether one version of a model is ready.",
    )
};
