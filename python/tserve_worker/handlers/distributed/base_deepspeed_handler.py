"""``BaseDeepSpeedHandler``: base of handlers whose model is a DeepSpeed engine."""

from __future__ import annotations

import abc
import os
from typing import Any

from tserve_worker.handlers import base_handler


class BaseDeepSpeedHandler(base_handler.BaseHandler, abc.ABC):
    """Chooses the device by the process's rank; ``get_ds_engine`` makes the model."""

    def initialize(self, ctx: Any) -> None:
        """Take the device of this rank; the subclass does the rest."""
        del ctx
        self.device = int(os.environ.get("LOCAL_RANK", "0"))
