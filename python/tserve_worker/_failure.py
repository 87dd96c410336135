"""What a handler raised, as far as its author can do something about it."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

TRACEBACK_LIMIT_CHARS = 8 * 1024
"""Longer tracebacks keep their end, where the cause is; the model log has them whole."""

MESSAGE_LIMIT_CHARS = 2 * 1024
"""Longer messages keep their beginning."""

_OWN_PACKAGE = str(Path(__file__).resolve().parent)


def describe_failure(error: BaseException, model_dir: str) -> str:
    """Describe an exception of a handler for the server, as JSON.

    Args:
        error: what was raised.
        model_dir: the unpacked archive. Only frames in there are told of, by names within it; if
            none is, those outside of this package.

    Returns:
        an object with ``exception``, ``message`` and ``traceback``.
    """
    told = traceback.TracebackException.from_exception(error)
    root = str(Path(model_dir).resolve())
    _trim(told, {root, model_dir.rstrip("/")}, depth=0)
    return json.dumps(
        {
            "exception": type(error).__name__,
            "message": _text(error)[:MESSAGE_LIMIT_CHARS],
            "traceback": "".join(told.format())[-TRACEBACK_LIMIT_CHARS:],
        }
    )


def _trim(told: traceback.TracebackException, roots: set[str], depth: int) -> None:
    """Keep the user's own frames of an exception and of those that led to it."""
    own, foreign = [], []
    for frame in told.stack:
        # Read the source line while the name is still the one of the file.
        _ = frame.line
        within = [root for root in roots if frame.filename.startswith(root + "/")]
        if within:
            frame.filename = frame.filename[len(max(within, key=len)) + 1 :]
            own.append(frame)
        elif not frame.filename.startswith((_OWN_PACKAGE, "<frozen ")):
            foreign.append(frame)
    told.stack = traceback.StackSummary.from_list(own or foreign)
    # A chain that is longer than this is nobody's to read.
    for led in (told.__cause__, told.__context__):
        if led is not None and depth < 5:
            _trim(led, roots, depth + 1)


def _text(error: BaseException) -> str:
    """Return the text of an exception, even of one whose ``__str__`` raises."""
    try:
        return str(error)
    except Exception:  # a broken __str__ must not replace the error it belongs to
        return ""
