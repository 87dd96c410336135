"""``MAR-INF/MANIFEST.json``: what an archive says about itself."""

from __future__ import annotations

import json
import os
import re
import time
from importlib import metadata

from archiver.config import ModelArchiverConfig

MANIFEST_PATH = "MAR-INF/MANIFEST.json"
"""Where the manifest lies in an archive; a directory that has it is an unpacked archive."""


def archiver_version() -> str:
    """Return the version of the installed tserve distribution, ``unknown`` in a bare checkout."""
    try:
        return metadata.version("tserve")
    except metadata.PackageNotFoundError:
        return "unknown"


def source_date_epoch() -> int | None:
    """Return the time that a reproducible build pretends to run at, in seconds since 1970 UTC.

    Source: <https://reproducible-builds.org/specs/source-date-epoch/>.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(text) if re.fullmatch("[0-9]{1,11}", text) else None


def build_time() -> time.struct_time:
    """Return the time to stamp on an archive: now, local time, or SOURCE_DATE_EPOCH in UTC."""
    epoch = source_date_epoch()
    return time.localtime() if epoch is None else time.gmtime(epoch)


def manifest_text(config: ModelArchiverConfig) -> str:
    """Write the manifest of an archive, with the keys in TorchServe's order.

    Files are named by their base names, because all of them lie at the root of the archive.
    """
    model = {
        "modelName": config.model_name,
        "serializedFile": _base_name(config.serialized_file),
        "handler": _base_name(config.handler),
        "modelFile": _base_name(config.model_file),
        "modelVersion": config.version,
        "requirementsFile": _base_name(config.requirements_file),
        "configFile": _base_name(config.config_file),
    }
    manifest = {
        "createdOn": time.strftime("%d/%m/%Y %H:%M:%S", build_time()),
        "runtime": config.runtime,
        "model": {key: value for key, value in model.items() if value is not None},
        "archiverVersion": archiver_version(),
    }
    return json.dumps(manifest, indent=2)


def _base_name(path: str | None) -> str | None:
    return os.path.basename(path) if path else None
