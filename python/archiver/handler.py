"""Handler strings: which file of the user's belongs to ``--handler``, if any.

Source: the manual of torch-model-archiver 0.12 and the behaviour of its release.
"""

from __future__ import annotations

import os
import sys

BUILT_IN = frozenset(
    {
        "base_handler",
        "dali_image_classifier",
        "image_classifier",
        "image_segmenter",
        "object_detector",
        "text_classifier",
        "trt_llm_handler",
        "vllm_handler",
    }
)
"""Handlers that the server brings along for Python runtimes; no file is packed for them."""

BUILT_IN_LSP = frozenset({"BaseHandler", "TorchScriptHandler"})
"""Handlers that a C++ (LSP) backend brings along."""


def handler_file(handler: str, runtime: str) -> str | None:
    """Name the file that holds a handler.

    ``dir/h.py``, ``dir/h``, ``dir/h:entry`` and ``dir/h.py:entry`` all live in ``dir/h.py``; an
    LSP handler lives in a shared library.

    Args:
        handler: the string given with ``--handler``.
        runtime: one of :data:`archiver.config.RUNTIMES`.

    Returns:
        The path to pack, which may not exist; None for a built-in handler.
    """
    directory, name = os.path.split(handler)
    stem = name.partition(":")[0]
    if runtime == "LSP":
        if handler in BUILT_IN_LSP:
            return None
        return os.path.join(directory, stem + (".dylib" if sys.platform == "darwin" else ".so"))
    if handler in BUILT_IN:
        return None
    return os.path.join(directory, stem if ".py" in stem else stem + ".py")
