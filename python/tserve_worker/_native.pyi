"""The worker's end of the link to its server: shared memory, read and written natively.

One :class:`Link` per process. Its :meth:`Link.recv` yields a :class:`Batch` whose ``data`` and
``headers`` are what TorchServe handlers expect; :meth:`Batch.reply` sends the answers back. Both
release the interpreter while they wait.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, final

__all__ = [
    "LAYOUT_VERSION",
    "Batch",
    "Link",
    "LinkClosed",
    "ReplyTooLarge",
    "__version__",
    "dumps",
    "end_with",
]

_Payload: TypeAlias = bytes | bytearray | memoryview | str
_Headers: TypeAlias = dict[str, str] | Sequence[tuple[str, str]]
_Item: TypeAlias = tuple[_Payload, int, str | None, _Headers]

class _TensorReader(Protocol):
    def __call__(
        self, content_type: str, offset: int, length: int, loans: list[Any], /
    ) -> object: ...
    def settle(self, loans: list[Any], /) -> None: ...

__version__: str
"""Version of the extension; the same as the server's."""

LAYOUT_VERSION: int
"""Version of the shared-memory layout; a link of another version is refused."""

def dumps(value: object) -> bytes | None:
    """Write a value as ``json.dumps(value, indent=2)`` does, in a fraction of the time.

    Args:
        value: anything.

    Returns:
        The text in ASCII, or None for what only Python's own encoder can judge: types that are not
        exactly dict (with str keys), list, tuple, str, int (of 64 bits), float, bool or None, lone
        surrogates, and more than 64 levels.
    """

def end_with(control_fd: int) -> None:
    """Start a thread that kills this process when the other end of a stream socket is closed.

    It needs no interpreter. The descriptor stays the caller's.

    Raises:
        OSError: no such descriptor is open.
    """

class ReplyTooLarge(OverflowError):
    """A reply cannot fit into the reply area, even when that is empty.

    Nothing was sent, so the batch can still be answered, for instance with an error.
    """

class LinkClosed(ConnectionError):
    """The server does not listen on this link any more; nothing was sent."""

@final
class Link:
    """A worker's end of the link to its server."""

    def __new__(
        cls, link_fd: int, arena_fd: int, wake_fd: int, control_fd: int, decode: bool
    ) -> Link:
        """Map the shared memory and start to watch the server.

        A native thread watches the control socket without needing the interpreter. When the server
        hangs up after it has closed the link, the process gets two seconds to end by itself, then
        exits with status 0. When it hangs up without having closed the link, it has died: the
        worker's process group is killed (only the process, if it leads no group).

        Args:
            link_fd: The link segment; taken over and closed.
            arena_fd: The request arena, open for reading; taken over and closed.
            wake_fd: The eventfd that wakes the server; taken over.
            control_fd: The control socket; duplicated, so it stays the caller's, who may read it.
            decode: Whether JSON and text inputs are decoded; else every input is a bytearray.

        Raises:
            OSError: A descriptor is not open or cannot be mapped.
            RuntimeError: The segment is no link of this version.
        """

    def set_tensor_reader(self, reader: _TensorReader) -> None:
        """Name what makes the values of tensors from now on; without one they are bytearrays.

        Args:
            reader: Called for each tensor, and once more before its batch is answered.
        """

    def recv(self) -> Batch | None:
        """Wait for the next batch.

        The interpreter is released while nothing is there, and signal handlers run.

        Returns:
            The batch, or None when the server has closed the link.

        Raises:
            RuntimeError: The shared memory is damaged; the worker should end.
            KeyboardInterrupt: Or whatever else a signal handler raises.
        """

    def watch_rank(self, pid: int, rank: int) -> None:
        """End this process when a child of it ends, unless the server has closed the link.

        A native thread watches it; the status is the child's, in the way of a shell.

        Raises:
            OSError: there is no such process.
        """

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed the link."""

@final
class Batch:
    """Requests that the server submitted together, copied out of shared memory."""

    @property
    def ids(self) -> dict[int, str]:
        """Request ids by index in the batch."""

    @property
    def headers(self) -> list[dict[str, object]]:
        """Headers of each request.

        First an entry ``{"content-type": type}`` under the name of each input, then all headers as
        they came; a header wins over an input of the same name, a later header over an earlier one.
        """

    @property
    def number(self) -> int:
        """The server's number of the batch, by which it speaks of it on the control socket."""

    def take_data(self) -> list[dict[str, object]]:
        """Hand over the inputs of each request by name; of a repeated name the last.

        The batch keeps nothing, so that large inputs are freed before the next batch is built.

        The value depends on the content type, compared case-sensitively and without parameters:
        ``application/json`` is parsed; a type starting with ``text`` becomes a str, decoded as
        UTF-8; everything else is a bytearray. What does not decode is a bytearray, too, with a
        warning in the log. The objects are the caller's own and may be changed.

        Raises:
            RuntimeError: They were taken already.
        """

    def __len__(self) -> int:
        """Return the number of requests."""

    def handled(self, preprocess: int = 0, inference: int = 0, postprocess: int = 0) -> None:
        """Note that the handler has returned; its time counts from :meth:`take_data`.

        Without it, the time until the reply counts.

        Args:
            preprocess: Nanoseconds that this step took; 0 is unknown.
            inference: The same.
            postprocess: The same.
        """

    def reply(
        self, code: int, message: str, items: Sequence[_Item | None] | None, last: bool = True
    ) -> None:
        """Send answers straight into the reply area; wait while it is full.

        ``bytes`` and ``str`` are copied once; ``bytearray`` and ``memoryview`` twice, since another
        thread may change them meanwhile.

        Args:
            code: 200, or the code of the failure that befell the whole batch.
            message: What to say about ``code``.
            items: For request 0, 1, ... its payload, HTTP status, reason phrase (None for the
                default one) and response headers, or None for nothing; None for no items.
            last: Whether the batch is answered with this; False to send more later. Then it also
                waits while the server is more than 1 MiB or 16 replies behind.

        Raises:
            ReplyTooLarge: The reply area is too small; the batch can still be answered.
            BrokenPipeError: ``last`` is False and nobody waits for more of this batch; it is still
                to be answered.
            LinkClosed: The server does not listen any more.
            RuntimeError: The batch was answered already.
            TypeError: A payload, header or phrase is of the wrong type.
            ValueError: There are more items than requests.
            KeyboardInterrupt: Or whatever a signal handler raises while waiting; nothing was sent.
        """
