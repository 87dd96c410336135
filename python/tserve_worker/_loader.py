"""Find, import and build the handler that a model names.

The order of the steps, what falls back to what, and the texts of the errors follow
TorchServe's ``ts/model_loader.py``; where it hides the reason of a failure, this does not.
"""

from __future__ import annotations

import importlib
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tserve_worker._context import Context
from tserve_worker._control import LoadRequest
from tserve_worker._modules import import_top_level
from tserve_worker._schema import Schema, schemas_of
from tserve_worker._tensors import Kind, TypedEntryPoint, json_numbers_of, typed_inputs_of
from tserve_worker._version import __version__
from tserve_worker.errors import HandlerNotFoundError, InvalidHandlerError
from tserve_worker.handlers import BUILTIN
from tserve_worker.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from tserve_worker.utils.util import get_yaml_config, list_classes_from_module

EntryPoint = Callable[[Any, Context], Any]


@dataclass
class LoadedModel:
    """A handler ready for requests.

    Attributes:
        entry_point: called with the rows of a batch and the context.
        context: the one that every call gets.
        metrics: what ``context.metrics`` is, unless the handler puts something else there.
        schemas: what the handler's type hints say of requests and answers.
        typed_inputs: how the handler wants tensors, if it wants them.
        json_numbers: what it wants numbers in JSON to be then.
    """

    entry_point: EntryPoint
    context: Context
    metrics: MetricsCacheYamlImpl
    schemas: dict[str, Schema] = field(default_factory=dict)
    typed_inputs: Kind | None = None
    json_numbers: str | None = None


def load_model(request: LoadRequest, metrics: MetricsCacheYamlImpl | None = None) -> LoadedModel:
    """Import the handler, build it and initialise it.

    The working directory and the import path are those of the model already. Without ``metrics``
    the model gets the ones that the request configures.

    Raises:
        HandlerNotFoundError: no module answers to the handler's name.
        InvalidHandlerError: the module has no usable entry point.
        BaseException: whatever the handler's own code raises.
    """
    if metrics is None:
        metrics = MetricsCacheYamlImpl(request.metrics_config)
        metrics.initialize_cache()
        metrics.model_name = request.model_name
    metrics.set_request_ids(str(uuid.uuid4()))
    manifest = read_manifest(request.model_dir)
    module, function = import_handler(request.handler, request.model_dir)
    entry_point, initialize = find_entry_point(module, function)
    schemas = schemas_of(entry_point) if not request.envelope else {}
    typed_inputs, json_numbers = typed_inputs_of(entry_point), json_numbers_of(entry_point)
    if typed_inputs:
        # Tensors need no envelope.
        entry_point = TypedEntryPoint(entry_point, typed_inputs, json_numbers)
    elif request.envelope:
        entry_point = wrap_in_envelope(request.envelope, entry_point)
    context = Context(
        request.model_name,
        request.model_dir,
        manifest,
        request.batch_size,
        request.gpu_id,
        __version__,
        request.limit_max_image_pixels,
        metrics,
        read_model_config(manifest, request.model_dir),
    )
    initialize(context)
    return LoadedModel(entry_point, context, metrics, schemas, typed_inputs, json_numbers)


def read_manifest(model_dir: str) -> Any:
    """Return MANIFEST.json of the archive, None when it has none."""
    try:
        text = Path(model_dir, "MAR-INF", "MANIFEST.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return json.loads(text)


def read_model_config(manifest: Any, model_dir: str) -> Any:
    """Return the model's configuration file: ``{}`` without one, None for an empty one."""
    name = ((manifest or {}).get("model") or {}).get("configFile")
    return get_yaml_config(os.path.join(model_dir, name)) if name else {}


def import_handler(handler: str | None, model_dir: str) -> tuple[ModuleType, str]:
    """Import the module that a handler string names.

    ``dir/file.py:function`` is the module ``file`` on the import path; when that cannot be
    imported, the whole string is the name of a packaged handler.

    Returns:
        (module, name of the entry point to look for).

    Raises:
        HandlerNotFoundError: there is neither.
        ImportError: what the handler itself could not import.
    """
    if not handler:
        raise HandlerNotFoundError(
            "the model names no handler; hint: archive it with --handler, register it with "
            "handler=, or set default_service_handler"
        )
    file, _, function = handler.partition(":")
    name = file.removesuffix(".py").rpartition("/")[2]
    try:
        return import_top_level(name, model_dir), function or "handle"
    except ImportError as exc:
        return import_packaged(handler, name, exc), function or "handle"


def import_packaged(handler: str, name: str, cause: ImportError) -> ModuleType:
    """Import a packaged handler by its raw name, for want of a module in the archive.

    Raises:
        ImportError: ``cause`` when the archive's module was there and failed by itself, the
            packaged handler's own when that failed.
        HandlerNotFoundError: nothing has that name.
    """
    packaged = f"ts.torch_handler.{handler}"
    try:
        return importlib.import_module(packaged)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{packaged}.".startswith(f"{exc.name}."):
            raise
    if isinstance(cause, ModuleNotFoundError) and cause.name == name:
        raise HandlerNotFoundError(
            f"no module named {name!r} in the archive or on the import path, and no packaged "
            f"handler {handler!r}; hint: the packaged ones are {', '.join(BUILTIN)}"
        ) from cause
    raise cause


def find_entry_point(module: ModuleType, function: str) -> tuple[EntryPoint, Callable[..., Any]]:
    """Choose what is called with requests, and what once before them.

    A function of the module wins; else its only class is built without arguments.

    Returns:
        (entry point, initialiser called with the context).

    Raises:
        InvalidHandlerError: neither one function nor one class, or a class without ``handle``.
        AttributeError: the class has no ``initialize``.
    """
    if hasattr(module, function):
        entry_point = getattr(module, function)
        return entry_point, lambda context: entry_point(None, context)
    classes = list_classes_from_module(module)
    if len(classes) != 1:
        names = [found.__name__ for found in classes]
        raise InvalidHandlerError(
            "Expected only one class in custom service code or a function entry point "
            f"{function!r}; {module.__name__} has the classes {names}"
        )
    service = classes[0]()
    if not hasattr(service, "handle"):
        raise InvalidHandlerError(f"class {classes[0].__name__} has no method 'handle'")
    return service.handle, service.initialize


def wrap_in_envelope(name: str, entry_point: EntryPoint) -> EntryPoint:
    """Put a request envelope between the server and the entry point.

    Raises:
        HandlerNotFoundError: there is no envelope of that name.
    """
    try:
        module = importlib.import_module(f"ts.torch_handler.request_envelope.{name}")
    except ModuleNotFoundError as exc:
        if exc.name is None or not exc.name.startswith("ts."):
            raise
        raise HandlerNotFoundError(f"no request envelope named {name!r}") from exc
    wrapped: EntryPoint = list_classes_from_module(module)[0](entry_point).handle
    return wrapped
