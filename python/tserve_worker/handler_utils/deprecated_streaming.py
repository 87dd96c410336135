"""``ts.protocol.otf_message_handler``: the one name of it that handlers still import.

The rest of that module is the wire format between TorchServe's server and worker, which tserve
does not have.
"""

from __future__ import annotations

from typing import Any

from tserve_worker.handler_utils import utils
from tserve_worker.utils.util import deprecated


@deprecated(
    version="0.9.0",
    replacement="ts.handler_utils.utils.send_intermediate_predict_response",
)
def send_intermediate_predict_response(
    ret: Any, req_id_map: dict[int, str] | None, message: str, code: int, context: Any = None
) -> None:
    """Send one chunk, see ``tserve_worker.handler_utils.utils``."""
    utils.send_intermediate_predict_response(ret, req_id_map, message, code, context)
