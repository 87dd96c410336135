"""Label files, class look-up, configuration files: ``ts.utils.util``.

Names, arguments and results are TorchServe's.
"""

from __future__ import annotations

import enum
import functools
import inspect
import json
import logging
import os
import re
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import yaml

from tserve_worker.errors import PredictionException

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])

CLEANUP_REGEX = re.compile("<.*?>|&([a-z0-9]+|#[0-9]{1,6}|#x[0-9a-f]{1,6});")
"""Matches HTML tags and entities."""


class PT2Backend(str, enum.Enum):
    """Backends of ``torch.compile`` that a model's configuration may name."""

    EAGER = "eager"
    AOT_EAGER = "aot_eager"
    INDUCTOR = "inductor"
    NVFUSER = "nvfuser"
    AOT_NVFUSER = "aot_nvfuser"
    AOT_CUDAGRAPHS = "aot_cudagraphs"
    OFI = "ofi"
    FX2TRT = "fx2trt"
    ONNXRT = "onnxrt"
    IPEX = "ipex"
    TORCHXLA_TRACE_ONCE = "torchxla_trace_once"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    HPU_BACKEND = "hpu_backend"


def check_valid_pt2_backend(backend: str) -> bool:
    """Tell whether ``torch.compile`` may be asked for a backend; warn if not."""
    known = {member.value for member in PT2Backend}
    if backend in known:
        return True
    logger.warning("%s is not a supported backend; the model stays as it is", backend)
    return False


def list_classes_from_module(
    module: ModuleType, parent_class: type[Any] | None = None
) -> list[type[Any]]:
    """List the classes defined in a module itself, by name; imported ones do not count.

    Args:
        module: the module to search.
        parent_class: keep only this class and its subclasses.
    """
    found = inspect.getmembers(
        module, lambda member: inspect.isclass(member) and member.__module__ == module.__name__
    )
    return [
        member for _, member in found if parent_class is None or issubclass(member, parent_class)
    ]


def load_label_mapping(mapping_file_path: str | os.PathLike[str]) -> dict[str, str] | None:
    """Read ``index_to_name.json``: the label of each class index.

    A list stands for its last element, so that Keras files work; the key ``object_type_names``
    with a list of labels numbers them from 0.

    Returns:
        label by index as a str; None, with a warning, when there is no such file.

    Raises:
        TypeError: the file does not map indexes to labels.
    """
    if not os.path.isfile(mapping_file_path):
        logger.warning(
            "%s is missing: inference output will not include class names",
            mapping_file_path,
        )
        return None
    with open(mapping_file_path, encoding="utf-8") as file:
        mapping = json.load(file)
    if not isinstance(mapping, dict):
        raise TypeError(
            f"index_to_name.json should be a JSON object of indexes and labels, "
            f"{mapping_file_path} holds a {type(mapping).__name__}"
        )
    names = mapping.get("object_type_names")
    if isinstance(names, list):
        mapping = {str(index): label for index, label in enumerate(names)}
    labels = {}
    for key, value in mapping.items():
        label = value[-1] if isinstance(value, list) and value else value
        if not isinstance(label, str):
            raise TypeError(f"label of {key!r} in {mapping_file_path} is not a str: {label!r}")
        labels[key] = label
    return labels


def map_class_to_label(
    probs: list[list[Any]],
    mapping: dict[str, str] | None = None,
    lbl_classes: list[list[Any]] | None = None,
) -> list[dict[str, Any]]:
    """Name the classes of a batch of probabilities.

    Args:
        probs: probabilities, shape (B, K).
        mapping: label by class index as a str; without it the index is the label.
        lbl_classes: class indexes, shape (B, K); 0..K-1 when None.

    Returns:
        one ``{label: probability}`` per request, in the order of ``probs``; of equal labels the
        last one stays.

    Raises:
        TypeError: ``probs`` is not a list, or ``mapping`` not a dict.
        KeyError: ``mapping`` lacks a class.
    """
    if not isinstance(probs, list):
        raise TypeError(f"probabilities should be a list, not {type(probs).__name__}")
    if mapping is not None and not isinstance(mapping, dict):
        raise TypeError(f"mapping should be a dict, not {type(mapping).__name__}")
    results = []
    for row, values in enumerate(probs):
        classes = range(len(values)) if lbl_classes is None else lbl_classes[row]
        labels = [str(index) if mapping is None else mapping[str(index)] for index in classes]
        results.append(dict(zip(labels, values, strict=False)))
    return results


def get_yaml_config(yaml_file_path: str | os.PathLike[str]) -> Any:
    """Read a YAML file; None when it is empty."""
    with open(yaml_file_path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def deprecated(
    version: str,
    replacement: str = "",
    klass: type[Warning] = PendingDeprecationWarning,
) -> Callable[[Function], Function]:
    """Make a decorator that warns of a deprecated function at each call.

    Args:
        version: release from which the function is deprecated.
        replacement: what to call instead.
        klass: category of the warning.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def warn_and_call(*args: Any, **kwargs: Any) -> Any:
            text = f"{function.__name__}() is deprecated from version {version}."
            if replacement:
                text += f" Use {replacement}() instead."
            warnings.warn(text, klass, stacklevel=2)
            return function(*args, **kwargs)

        return warn_and_call  # type: ignore[return-value]

    return decorate


__all__ = [
    "CLEANUP_REGEX",
    "PT2Backend",
    "PredictionException",
    "check_valid_pt2_backend",
    "deprecated",
    "get_yaml_config",
    "list_classes_from_module",
    "load_label_mapping",
    "map_class_to_label",
]
