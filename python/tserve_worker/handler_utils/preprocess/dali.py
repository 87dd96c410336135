"""``get_dali_pipeline``: NVIDIA DALI decodes and transforms pictures on the GPU.

Source: TorchServe ``ts/handler_utils/preprocess/dali.py``, for keys and defaults.
"""

from __future__ import annotations

import os
from typing import Any

from tserve_worker import _extras

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's colours, as torchvision has them."""


def get_dali_pipeline(ctx: Any) -> Any:
    """Make the pipeline that the section ``dali`` of the model's configuration asks for.

    Args:
        ctx: the context. ``batch_size``, ``num_threads``, ``device_id`` and ``seed`` are required;
            ``pipeline_file`` is a serialized pipeline in the archive, by default pictures are
            decoded, resized to 256, cropped to 224 and normalised.

    Raises:
        ModuleNotFoundError: DALI is not installed.
        RuntimeError: there is no such file.
        ValueError: the configuration has no section ``dali``.
    """
    settings = (getattr(ctx, "model_yaml_config", None) or {}).get("dali")
    if settings is None:
        raise ValueError(f"{ctx.model_name} has no dali config in model config yaml file")
    options = {key: settings[key] for key in ("batch_size", "num_threads", "device_id", "seed")}
    if "pipeline_file" not in settings:
        return _default_pipeline(options)
    path = os.path.join(ctx.system_properties.get("model_dir"), settings["pipeline_file"])
    if not os.path.exists(path):
        raise RuntimeError(f"Missing dali pipeline file: {path}")
    pipeline: Any = _extras.load("nvidia.dali.pipeline").Pipeline
    return pipeline.deserialize(filename=path, prefetch_queue_depth=1, **options)


def _default_pipeline(options: dict[str, Any]) -> Any:
    """Make the pipeline for classifiers of ImageNet; the pictures come in as ``source``."""
    dali = _extras.load("nvidia.dali")
    types = _extras.load("nvidia.dali.types")

    def classify() -> Any:
        files = dali.fn.external_source(dtype=types.UINT8, name="source")
        pictures = dali.fn.resize(
            dali.fn.decoders.image(files, device="mixed"),
            size=[256],
            mode="not_smaller",
            interp_type=types.DALIInterpType.INTERP_LINEAR,
            subpixel_scale=False,
            antialias=True,
        )
        return dali.fn.crop_mirror_normalize(
            pictures,
            crop=(224, 224),
            crop_pos_x=0.5,
            crop_pos_y=0.5,
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in DEVIATION],
        )

    pipeline = dali.pipeline_def(classify)(prefetch_queue_depth=1, **options)
    pipeline.build()
    return pipeline
