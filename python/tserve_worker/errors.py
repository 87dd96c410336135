"""Errors of the worker.

    WorkerError                     anything the worker itself refuses
    ├── ClientGoneError             nobody waits for more chunks of a stream (a ConnectionError)
    ├── ControlError                the server sent a control message that makes no sense
    ├── HandlerNotFoundError        no module answers to the handler's name (also an ImportError)
    ├── InvalidHandlerError         the module has no usable entry point (also a ValueError)
    ├── InvalidReplyError           the handler's result cannot be sent; fails the whole batch
    └── RankFailedError             the handler did not load on another rank of the group
    MissingPackageError             something optional is needed now (an ImportError)
    PredictionException             raised by handlers: answer with this status and message

The second base classes are what TorchServe raises in the same place.
"""

from __future__ import annotations


class WorkerError(Exception):
    """Base of everything the worker itself refuses."""


class ClientGoneError(WorkerError, ConnectionError):
    """Nobody waits for more chunks of this batch: its clients are gone, or had too long.

    ``send_intermediate_predict_response`` raises it so that a handler stops. A handler may let it
    pass, catch it to clean up, or go on and return as usual; nobody sees the result.
    """


class ControlError(WorkerError):
    """The server sent a control message that makes no sense."""


class HandlerNotFoundError(WorkerError, ImportError):
    """No module of the archive and no packaged handler answers to the handler's name."""


class InvalidHandlerError(WorkerError, ValueError):
    """The handler's module has no entry point that can be called."""


class InvalidReplyError(WorkerError):
    """The handler's result cannot be sent, so every request of the batch fails.

    Attributes:
        code: HTTP status of the answer.
        public_message: what the client reads; ``str(error)`` has the details for the log.
    """

    def __init__(self, code: int, public_message: str, detail: str) -> None:
        """Keep the two messages apart: the client's and the log's."""
        super().__init__(detail)
        self.code = code
        self.public_message = public_message


class RankFailedError(WorkerError):
    """The handler did not load on another rank of the group.

    Attributes:
        rank: which one.
        failure: what that rank said of it.
    """

    def __init__(self, rank: int, failure: dict[str, object]) -> None:
        """Sum up what the rank has said."""
        super().__init__(f"rank {rank}: {failure.get('exception')}: {failure.get('message')}")
        self.rank = rank
        self.failure = failure


class PredictionException(Exception):
    """Raised by a handler: every request of the batch gets this status and message.

    Source: TorchServe ``ts.utils.util.PredictionException``.
    """

    def __init__(self, message: str, error_code: int = 500) -> None:
        """Keep the client's message and the HTTP status."""
        super().__init__(message)
        self.message = message
        self.error_code = error_code

    def __str__(self) -> str:
        """Join message and status as TorchServe's logs do."""
        return f"{self.message} : {self.error_code}"


class MissingPackageError(ImportError):
    """Something that is optional is needed now."""

    def __init__(self, needed_by: str, package: str, install: str | None = None) -> None:
        """Name what is missing, for whom, and how to get it."""
        super().__init__(
            f"{needed_by} needs the package {package!r}; hint: pip install {install or package}",
            name=package,
        )
