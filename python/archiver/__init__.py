"""Packs models into the archives that tserve and TorchServe load; standard library only.

The supported interface is the command ``tserve-archiver``. Code that used PyPI's
``model_archiver`` finds its names here::

    from archiver import ModelArchiver, ModelArchiverConfig

    config = ModelArchiverConfig(model_name="cat", handler="handler.py", version="1.0")
    ModelArchiver.generate_model_archive(config)
"""

from archiver.config import ModelArchiverConfig
from archiver.errors import ModelArchiverError
from archiver.package import ModelArchiver, generate_model_archive

__all__ = ["ModelArchiver", "ModelArchiverConfig", "ModelArchiverError", "generate_model_archive"]
