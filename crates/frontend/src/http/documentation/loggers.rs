//! The words about the levels of the logs.

use super::{BAD, Documentation, Kind, Parameter, Shape, operation, query};

pub(in crate::http) static LOGGERS: Documentation = Documentation {
    answers: &[(200, "Every logger that has a level", Shape::LoggerLevels)],
    ..operation("get", "listLoggers", "Lists the loggers and their levels.")
};

pub(in crate::http) static SET_LOGGER: Documentation = Documentation {
    parameters: &[
        Parameter {
            is_required: true,
            ..query(
                "name",
                Kind::Text,
                "ACCESS_LOG, MODEL_LOG, org.pytorch.serve, root, or a part of the server.",
            )
        },
        Parameter {
            is_required: true,
            ..query(
                "level",
                Kind::Text,
                "debug, info, warn, error, off, or default to take a level away.",
            )
        },
    ],
    answers: &[(200, "The level has changed", Shape::Status), BAD],
    ..operation(
        "put",
        "setLogger",
        "Changes the level of a logger, at once.",
    )
};
