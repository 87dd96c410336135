//! Errors as gRPC clients of TorchServe know them: a code, and a text of two lines, the second of
//! which names the exception that TorchServe would have raised.

use tonic::{Code, Status};

use crate::error::Error;

/// The end of a prediction that failed.
pub(super) fn of_prediction(error: &Error) -> Status {
    let code = match error {
        Error::Worker { status, .. } | Error::Raised { status, .. } => of_worker(error, *status),
        Error::ClientTimeout(_) => Code::DeadlineExceeded,
        Error::InvalidKey(_) => Code::PermissionDenied,
        // Unknown models and full queues too: clients match on it.
        _ => Code::Internal,
    };
    Status::new(code, described(error, &exception_of_prediction(error)))
}

/// Second line of a prediction's error; also the reason in the errors of a stream.
pub(super) fn exception_of_prediction(error: &Error) -> String {
    match error {
        // The original prints these two objects, not their classes.
        Error::BadRequest(_) => "BadRequestException.()".to_owned(),
        Error::Unavailable(_) => "InternalServerException.()".to_owned(),
        _ => exception(error).to_owned(),
    }
}

/// The end of a request of the Open Inference Protocol, as that has it.
pub(super) fn of_inference(error: &Error) -> Status {
    Status::new(of_operation(error).code(), error.to_string())
}

/// The end of a management call that failed.
pub(super) fn of_operation(error: &Error) -> Status {
    if *error == Error::MethodNotAllowed {
        let text = "Model API disabled\norg.pytorch.serve.archive.model.ModelException";
        return Status::permission_denied(text);
    }
    let code = match error {
        Error::BadRequest(_)
        | Error::InvalidModel(_)
        | Error::ModelPreparation(_)
        | Error::Download(_)
        | Error::IllegalArgument(_)
        | Error::FormData(_)
        | Error::JsonSyntax(_) => Code::InvalidArgument,
        Error::ResourceNotFound | Error::ModelNotFound(_) | Error::VersionNotFound(_) => {
            Code::NotFound
        }
        Error::Conflict(_) => Code::AlreadyExists,
        Error::DefaultVersion(_) => Code::FailedPrecondition,
        Error::InvalidKey(_) => Code::PermissionDenied,
        Error::OperationTimeout(_) | Error::ClientTimeout(_) => Code::DeadlineExceeded,
        Error::Unavailable(_) => Code::Unavailable,
        Error::Worker { status, .. } | Error::Raised { status, .. } => of_worker(error, *status),
        Error::MethodNotAllowed | Error::WorkerInitialization(_) | Error::Internal(_) => {
            Code::Internal
        }
    };
    Status::new(code, described(error, exception(error)))
}

/// The end of a call of somebody who may not make it.
pub(super) fn refused(error: &Error) -> Status {
    Status::permission_denied(error.to_string())
}

/// The text of an error.
pub(super) fn described(error: &Error, exception: &str) -> String {
    format!("{error}\n{exception}")
}

/// The code of an HTTP-like status that a worker chose.
fn of_worker(error: &Error, status: u16) -> Code {
    // A worker that was killed, most likely for want of memory.
    if *error == Error::worker_died(507) {
        return Code::ResourceExhausted;
    }
    match status {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::Aborted,
        413 | 429 => Code::ResourceExhausted,
        416 => Code::OutOfRange,
        499 => Code::Cancelled,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => match status / 100 {
            4 => Code::FailedPrecondition,
            5 => Code::Internal,
            _ => Code::Unknown,
        },
    }
}

/// The class of the exception that TorchServe would have raised.
fn exception(error: &Error) -> &'static str {
    match error {
        Error::ResourceNotFound => "org.pytorch.serve.http.ResourceNotFoundException",
        Error::MethodNotAllowed => "org.pytorch.serve.http.MethodNotAllowedException",
        Error::BadRequest(_) => "org.pytorch.serve.http.BadRequestException",
        Error::ModelNotFound(_) => "org.pytorch.serve.archive.model.ModelNotFoundException",
        Error::VersionNotFound(_) => {
            "org.pytorch.serve.archive.model.ModelVersionNotFoundException"
        }
        Error::InvalidModel(_) => "org.pytorch.serve.archive.model.InvalidModelException",
        Error::ModelPreparation(_) => "org.pytorch.serve.archive.model.ModelException",
        Error::Download(_) => "org.pytorch.serve.archive.DownloadArchiveException",
        Error::Conflict(_) => "org.pytorch.serve.http.ConflictStatusException",
        Error::DefaultVersion(_) => "org.pytorch.serve.http.InvalidModelVersionException",
        Error::InvalidKey(_) => "org.pytorch.serve.archive.model.InvalidKeyException",
        Error::IllegalArgument(_) => "java.lang.IllegalArgumentException",
        Error::OperationTimeout(_) | Error::ClientTimeout(_) => {
            "org.pytorch.serve.http.RequestTimeoutException"
        }
        Error::WorkerInitialization(_) => "org.pytorch.serve.wlm.WorkerInitializationException",
        Error::FormData(_)
        | Error::JsonSyntax(_)
        | Error::Unavailable(_)
        | Error::Worker { .. }
        | Error::Raised { .. }
        | Error::Internal(_) => "org.pytorch.serve.http.InternalServerException",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(status: u16) -> Error {
        Error::Worker {
            status,
            message: "gone".to_owned(),
        }
    }

    #[test]
    fn statuses_of_workers_become_codes() {
        for (status, code) in [
            (400, Code::InvalidArgument),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::NotFound),
            (408, Code::FailedPrecondition),
            (409, Code::Aborted),
            (413, Code::ResourceExhausted),
            (416, Code::OutOfRange),
            (418, Code::FailedPrecondition),
            (429, Code::ResourceExhausted),
            (499, Code::Cancelled),
            (500, Code::Internal),
            (501, Code::Unimplemented),
            (503, Code::Unavailable),
            (504, Code::DeadlineExceeded),
            (507, Code::Internal),
            (999, Code::Unknown),
        ] {
            let status_of = of_prediction(&worker(status));
            assert_eq!(status_of.code(), code, "{status}");
            assert_eq!(
                status_of.message(),
                "gone\norg.pytorch.serve.http.InternalServerException"
            );
            assert_eq!(of_operation(&worker(status)).code(), code);
        }
        let killed = of_prediction(&Error::worker_died(507));
        assert_eq!(killed.code(), Code::ResourceExhausted);
        assert_eq!(
            of_prediction(&Error::worker_died(500)).code(),
            Code::Internal
        );
    }

    #[test]
    fn lookups_that_fail_are_told_apart_by_their_text_in_predictions() {
        let unknown = of_prediction(&Error::unknown_model("m"));
        assert_eq!(unknown.code(), Code::Internal);
        assert_eq!(
            unknown.message(),
            "Model not found: m\norg.pytorch.serve.archive.model.ModelNotFoundException"
        );
        assert_eq!(
            of_operation(&Error::unknown_model("m")).code(),
            Code::NotFound
        );
        let missing = of_prediction(&Error::BadRequest("no".to_owned()));
        assert_eq!(missing.message(), "no\nBadRequestException.()");
    }
}
