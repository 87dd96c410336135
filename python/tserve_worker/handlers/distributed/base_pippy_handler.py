"""``BasePippyHandler``: base of handlers whose model is a pipeline of processes."""

from __future__ import annotations

import abc
import os
from typing import Any

from tserve_worker.handler_utils.distributed.pt_pippy import initialize_rpc_workers
from tserve_worker.handlers import base_handler


class BasePippyHandler(base_handler.BaseHandler, abc.ABC):
    """Joins the group's RPC network; ``get_pipeline_driver`` makes the model."""

    def initialize(self, ctx: Any) -> None:
        """Take rank and device from the environment of the group.

        Raises:
            KeyError: the model is not served by a group, see ``parallelType``.
            RuntimeError: there is no CUDA device.
        """
        import torch

        self.local_rank = int(os.environ["LOCAL_RANK"])
        self.world_size = int(os.environ["WORLD_SIZE"])
        self.device = self.local_rank % max(torch.cuda.device_count(), 1)
        initialize_rpc_workers(self.local_rank, self.world_size, ctx)
