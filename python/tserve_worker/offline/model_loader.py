"""``ts.model_loader``: load a handler out of an unpacked archive, for tests without a server."""

from __future__ import annotations

from typing import Any

from tserve_worker import _loader
from tserve_worker._control import LoadRequest
from tserve_worker.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from tserve_worker.offline.service import Service


class ModelLoader:
    """What loads a model; there is one kind."""

    def load(
        self,
        model_name: str,
        model_dir: str,
        handler: str | None = None,
        gpu_id: int | None = None,
        batch_size: int | None = None,
        envelope: str | None = None,
        limit_max_image_pixels: bool = True,
        metrics_cache: MetricsCacheYamlImpl | None = None,
    ) -> Service:
        """Import, build and initialise a handler; the caller sees to the import path.

        Args:
            model_name: name of the model.
            model_dir: the unpacked archive.
            handler: ``file``, ``file.py``, ``file:function`` or a packaged name.
            gpu_id: index of the device, or None for the CPU.
            batch_size: most requests per call.
            envelope: name of a request envelope, or None.
            limit_max_image_pixels: whether image handlers keep Pillow's limit.
            metrics_cache: what ``context.metrics`` is; one of its own without it.

        Raises:
            BaseException: whatever the handler's own code raises.
        """
        request = LoadRequest(
            model_name=model_name,
            model_dir=model_dir,
            handler=handler,
            gpu_id=gpu_id,
            batch_size=1 if batch_size is None else batch_size,
            envelope=envelope,
            limit_max_image_pixels=limit_max_image_pixels,
        )
        model = _loader.load_model(request, metrics_cache)
        return Service.of(model)


class TsModelLoader(ModelLoader):
    """Loads models as workers do."""


class ModelLoaderFactory:
    """Where loaders come from."""

    @staticmethod
    def get_model_loader() -> Any:
        """Return the loader."""
        return TsModelLoader()
