"""PiPPy: pipelines of processes over torch's RPC.

Source: TorchServe ``ts/handler_utils/distributed/pt_pippy.py``.
"""

from __future__ import annotations

import inspect
import logging
import os
from typing import Any

from tserve_worker.errors import MissingPackageError

logger = logging.getLogger(__name__)


def initialize_rpc_workers(local_rank: int, world_size: int, ctx: Any) -> None:
    """Join the group's RPC network; the model's configuration has the section ``pippy``.

    Args:
        local_rank: this process.
        world_size: processes of the group.
        ctx: the context; ``pippy.rpc_timeout`` and ``pippy.num_worker_threads`` are read.

    Raises:
        RuntimeError: there is no CUDA device.
    """
    import torch
    from torch.distributed import rpc

    settings = ctx.model_yaml_config["pippy"]
    options = rpc.TensorPipeRpcBackendOptions(
        num_worker_threads=settings["num_worker_threads"], rpc_timeout=settings["rpc_timeout"]
    )
    devices = torch.cuda.device_count()
    if not devices:
        raise RuntimeError("PiPPy needs at least one CUDA device, and there is none")
    device = local_rank % devices
    for peer in range(world_size):
        options.set_device_map(f"worker{peer}", {device: peer % devices})
    logger.info("rank = %d pid/device = %d/%d", local_rank, os.getpid(), device)
    rpc.init_rpc(  # type: ignore[no-untyped-call]
        f"worker{local_rank}",
        rank=local_rank,
        world_size=world_size,
        rpc_backend_options=options,
    )


def get_pipeline_driver(model: Any, world_size: int, ctx: Any) -> Any:
    """Cut a model into as many stages as there are processes.

    Args:
        model: a module.
        world_size: number of stages.
        ctx: the context; ``pippy.input_names``, ``pippy.model_type`` and ``handler.model_path`` are
            needed, ``pippy.chunks`` and ``handler.index_filename`` may be there.

    Returns:
        the model itself with the pipeline inside for ``model_type: HF``, else the pipeline.

    Raises:
        AssertionError: a key is missing, or the index file.
        MissingPackageError: PiPPy is not installed.
    """
    config = ctx.model_yaml_config
    for section, keys in (("pippy", ("input_names", "model_type")), ("handler", ("model_path",))):
        if section not in config:
            raise AssertionError(f"Missing '{section}' key in YAML config")
        for key in keys:
            if key not in config[section]:
                raise AssertionError(f"Missing '{key}' key in YAML config")
    index_file = config["handler"].get("index_filename")
    if index_file is not None:
        index_file = os.path.join(config["handler"]["model_path"], index_file)
        if not os.path.exists(index_file):
            raise AssertionError(f"Index file '{index_file}' not found")
    try:
        import pippy
        from pippy.hf import PiPPyHFTracer, inject_pipeline_forward
    except ImportError as exc:
        raise MissingPackageError("get_pipeline_driver", "pippy", "torchpippy") from exc

    model.eval()
    is_hugging_face = config["pippy"]["model_type"] == "HF"
    fixed = {
        parameter.name: parameter.default
        for parameter in inspect.signature(model.forward).parameters.values()
        if parameter.name not in config["pippy"]["input_names"]
    }
    if is_hugging_face and "bloom" in str(type(model)):
        fixed.setdefault("deprecated_arguments", {})
    logger.info("Initializing the model pipeline")
    driver, _ = pippy.all_compile(
        model,
        num_ranks=world_size,
        num_chunks=config["pippy"].get("chunks", 1),
        schedule="FillDrain",
        split_policy=pippy.split_into_equal_size(world_size),
        tracer=PiPPyHFTracer() if is_hugging_face else None,
        concrete_args=fixed,
        index_filename=index_file,
        checkpoint_prefix=None,
    )
    if not is_hugging_face:
        return driver
    inject_pipeline_forward(model, driver)
    return model
