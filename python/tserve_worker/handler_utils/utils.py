"""``import_class`` and ``send_intermediate_predict_response``: ``ts.handler_utils.utils``."""

from __future__ import annotations

import importlib
import os
from typing import Any


def import_class(class_name: str, module_prefix: str | None = None) -> Any:
    """Import a class by its dotted name.

    Args:
        class_name: ``Class``, ``module.Class`` or ``package.module.Class``.
        module_prefix: package that the module is below, or for a bare class the module.

    Raises:
        ImportError: the name is empty, has no module, or the module has no such class.
    """
    module_name, _, name = class_name.rpartition(".")
    full_name = ".".join(part for part in (module_prefix, module_name) if part)
    if not name or not full_name:
        raise ImportError(f"{class_name!r} does not name a class in a module")
    module = importlib.import_module(full_name)
    try:
        return getattr(module, name)
    except AttributeError as exc:
        raise ImportError(f"module {full_name} has no class {name!r}") from exc


def send_intermediate_predict_response(
    ret: Any, req_id_map: dict[int, str] | None, message: str, code: int, context: Any
) -> None:
    """Send one chunk to requests of the batch; the handler's result is the last chunk.

    It returns when the chunk is on its way, and waits while a client does not keep up. In a process
    of a group only the first rank sends.

    Args:
        ret: chunks, indexable by the keys of ``req_id_map``; each what a result may be.
        req_id_map: ``context.request_ids``, or a part of it.
        message: what clients read when ``code`` is not 200.
        code: 200, or the status that fails the batch.
        context: the context of the call.

    Raises:
        InvalidReplyError: a chunk cannot be sent; raised out of the handler it fails the batch.
        ClientGoneError: no client of the batch waits for more. A handler that lets it pass just
            stops; the worker serves on.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    channel = context.cl_socket
    if hasattr(channel, "send_part"):
        channel.send_part(ret, req_id_map or (), code, message)
        return
    # A test without a server has put a socket there: it gets the frame that TorchServe would send.
    from tserve_worker.offline.frames import create_predict_response

    channel.sendall(create_predict_response(ret, req_id_map or {}, message, code, context, True))
