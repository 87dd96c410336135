"""Runs handlers for tserve: what a worker process is made of, and what handlers import.

Handlers written for TorchServe import these things under their old names, ``ts...``::

    from ts.torch_handler.base_handler import BaseHandler

Nothing here imports torch unless a handler does.
"""

from tserve_worker._context import Context, RequestProcessor
from tserve_worker._version import __version__
from tserve_worker.errors import PredictionException

__all__ = ["Context", "PredictionException", "RequestProcessor", "__version__"]
