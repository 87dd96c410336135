"""``get_ds_engine``: a DeepSpeed engine as the model's configuration describes it.

Source: TorchServe ``ts/handler_utils/distributed/deepspeed.py``.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from tserve_worker.errors import MissingPackageError

logger = logging.getLogger(__name__)


def create_checkpoints_json(model_path: str, checkpoints_json: str) -> None:
    """Write the index of a model's weight files that DeepSpeed reads.

    Args:
        model_path: folder that is searched for weights, at any depth.
        checkpoints_json: file to write.
    """
    files = [str(file) for file in Path(model_path).rglob("*.[bp][it][n]") if file.is_file()]
    index = {"type": "ds_model", "checkpoints": files, "version": 1.0}
    Path(checkpoints_json).write_text(json.dumps(index), encoding="utf-8")


def get_ds_engine(model: Any, ctx: Any) -> Any:
    """Make an inference engine of a model.

    The model's configuration has ``handler: {model_path}`` and ``deepspeed: {config, checkpoint}``:
    a configuration file of DeepSpeed and, optionally, where to write the index of the weights, both
    in the archive.

    Raises:
        ValueError: there is no section ``deepspeed``, or its configuration file is missing.
        MissingPackageError: DeepSpeed is not installed.
    """
    config = ctx.model_yaml_config
    model_path = config["handler"]["model_path"]
    if "deepspeed" not in config:
        raise ValueError(f"{ctx.model_name} has no deepspeed config in model config yaml file")
    model_dir = ctx.system_properties.get("model_dir")
    engine_config, checkpoint = None, None
    if "config" in config["deepspeed"]:
        engine_config = os.path.join(model_dir, config["deepspeed"]["config"])
        if not os.path.exists(engine_config):
            raise ValueError(f"{ctx.model_name} has no deepspeed config file {engine_config}")
    try:
        import deepspeed
    except ImportError as exc:
        raise MissingPackageError("get_ds_engine", "deepspeed") from exc
    if "checkpoint" in config["deepspeed"]:
        checkpoint = os.path.join(model_dir, config["deepspeed"]["checkpoint"])
        create_checkpoints_json(model_path, checkpoint)
    logger.debug("Creating DeepSpeed engine")
    return deepspeed.init_inference(
        model, config=engine_config, base_dir=model_path, checkpoint=checkpoint
    )
