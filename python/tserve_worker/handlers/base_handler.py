"""``BaseHandler``: loads a PyTorch model and takes batches through it in four steps.

Source: TorchServe ``ts/torch_handler/base_handler.py``, for names, order and defaults.
"""

from __future__ import annotations

import abc
import importlib.util
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from tserve_worker.handler_utils.timer import timed
from tserve_worker.handlers import _compile, _exported, _model_files, _profile
from tserve_worker.utils.util import load_label_mapping

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)


def _torch_version() -> tuple[int, int, int]:
    """Return the first three numbers of torch's version."""
    parts = torch.__version__.split("+")[0].split(".")
    numbers = ["".join(char for char in part if char.isdigit()) or "0" for part in parts[:3]]
    major, minor, patch = (int(number) for number in [*numbers, "0", "0"][:3])
    return major, minor, patch


PROFILER_AVAILABLE = _torch_version() >= (1, 8, 1)
PT2_AVAILABLE = _torch_version() >= (2, 0, 0)
PT230_AVAILABLE = _torch_version() > (2, 2, 2)
XLA_AVAILABLE = importlib.util.find_spec("torch_xla") is not None
ONNX_AVAILABLE = importlib.util.find_spec("onnxruntime") is not None
IPEX_AVAILABLE = _compile.is_intel_wanted()


# Abstract without abstract methods, so that subclasses may declare some, as in TorchServe.
class BaseHandler(abc.ABC):  # noqa: B024
    """Loads the model of the archive, and serves it as it is.

    Subclasses override ``preprocess``, ``inference`` and ``postprocess`` as needed. ``handle``
    relies on nothing that ``__init__`` or ``initialize`` set, so that subclasses need not call
    either.

    Attributes:
        model: the loaded model, in evaluation mode; an ``InferenceSession`` for ONNX.
        mapping: label by class index from index_to_name.json, or None.
        device: where the model is.
        initialized: whether ``initialize`` is through.
        context: the context of the running call.
        model_pt_path: path of the weights, or None.
        manifest: the archive's manifest.
        map_location: kind of the device, for loading; None for XLA.
        explain: whether a request has asked for an explanation yet.
        target: class to explain.
        profiler_args: arguments for ``torch.profiler.profile``.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Set what holds for all of torch, also for subclasses that call nothing of the base."""
        del args, kwargs
        _model_files.prefer_tensor_cores()
        return super().__new__(cls)

    def __init__(self) -> None:
        """Start without a model."""
        super().__init__()
        self.model: Any = None
        self.mapping: Any = None
        self.device: Any = None
        self.initialized: Any = False
        self.context: Any = None
        self.model_pt_path: Any = None
        self.manifest: Any = None
        self.map_location: Any = None
        self.explain = False
        self.target: Any = 0
        self.profiler_args: dict[str, Any] = {}

    def initialize(self, context: Any) -> None:
        """Choose the device, load the model there, compile it if configured, read the labels.

        Raises:
            RuntimeError: the weights cannot be loaded, or there is neither model nor weights.
            ValueError: the model file does not have exactly one class.
        """
        if hasattr(context, "model_yaml_config"):
            self.model_yaml_config = context.model_yaml_config
        properties = context.system_properties
        self.map_location, self.device = _model_files.choose_device(
            properties.get("gpu_id"), use_xla=XLA_AVAILABLE
        )
        self.manifest = context.manifest
        model_dir = properties.get("model_dir")
        model = (self.manifest or {}).get("model") or {}
        serialized_file = model.get("serializedFile")
        self.model_pt_path = os.path.join(model_dir, serialized_file) if serialized_file else None
        self.model = self._load_model(model_dir, model.get("modelFile") or "")
        config = getattr(self, "model_yaml_config", None) or {}
        if "pt2" in config and _compile.wants_compile(config["pt2"]):
            self.model = _compile.compile_model(self.model, config["pt2"])
        elif IPEX_AVAILABLE:
            self.model = _compile.optimize_for_intel(self.model)
        self.mapping = load_label_mapping(os.path.join(model_dir, "index_to_name.json"))
        self.initialized = True

    def _load_model(self, model_dir: str, model_file: str) -> Any:
        """Load the model in the way its files ask for."""
        path = self.model_pt_path
        if model_file:
            logger.debug("Loading eager model")
            model = self._load_pickled_model(model_dir, model_file, path)
            model.to(self.device)
            model.eval()
            return model
        if path is None:
            raise RuntimeError(
                "the archive has neither a model file nor weights; hint: archive it with "
                "--serialized-file, or override initialize"
            )
        if not os.path.isfile(path):
            raise RuntimeError(f"Missing the model.pt file: {path}")
        if path.endswith(".pt"):
            model = self._load_torchscript_model(path)
            model.eval()
            return model
        if path.endswith(".pt2"):
            return self._load_torch_export_package(path)
        if path.endswith(".onnx") and ONNX_AVAILABLE:
            return setup_ort_session(path, self.map_location)
        if path.endswith(".so") and PT230_AVAILABLE and self._is_exported():
            return self._load_torch_export_aot_compile(path)
        raise RuntimeError("No model weights could be loaded: " + _model_files.explain(path))

    def _is_exported(self) -> bool:
        """Tell whether the configuration says that the weights are a compiled export."""
        return _compile.wants_aot_load(getattr(self, "model_yaml_config", None))

    def _load_torch_export_aot_compile(self, model_so_path: str) -> Any:
        """Load what ``torch._export.aot_compile`` made."""
        return _exported.load_library(model_so_path, self.map_location, self.device)

    def _load_torch_export_package(self, model_pt2_path: str) -> Any:
        """Load a ``.pt2`` file, of ``torch.export`` or AOTInductor."""
        return _exported.load_package(model_pt2_path, self.device)

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        """Load TorchScript."""
        return _model_files.load_torchscript(model_pt_path, self.device)

    def _load_pickled_model(
        self, model_dir: str, model_file: str, model_pt_path: str | None
    ) -> Any:
        """Build the only class of the model file and load its weights, if there are any.

        Raises:
            RuntimeError: a file is missing.
            ValueError: the model file does not have exactly one class.
        """
        # XLA takes weights from where they were saved; the model is moved afterwards.
        where = None if XLA_AVAILABLE and self.map_location is None else self.device
        return _model_files.load_eager(model_dir, model_file, model_pt_path, where)

    @timed
    def preprocess(self, data: Any) -> Any:
        """Turn the batch into a tensor on the device.

        Args:
            data: numbers in nested lists, as a request envelope hands them out. Rows of a plain
                batch are dicts, which a subclass must turn into numbers.

        Raises:
            TypeError: the rows are dicts.
        """
        return torch.as_tensor(data, device=self.device)

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the model without gradients.

        Args:
            data: a tensor, moved to the device if it is not there; for an ONNX model of several
                inputs tensors in order or by name.
            args: passed on to the model.
            kwargs: passed on to the model.
        """
        if _exported.is_onnx(self.model):
            return _exported.run_onnx(self.model, data)
        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    @timed
    def postprocess(self, data: Any) -> Any:
        """Turn the model's output into one item per request."""
        return data.tolist()

    def handle(self, data: Any, context: Any) -> Any:
        """Answer one batch: describe, explain, or preprocess, inference and postprocess.

        Args:
            data: one dict per request.
            context: the context, with the requests' headers.

        Returns:
            one item per request.
        """
        started = time.perf_counter()
        self.context = context
        if _profile.is_enabled():
            output, _ = self._infer_with_profiler(data=data)
        elif self._is_describe():
            output = [self.describe_handle()]
        else:
            output = self._answer(data)
        duration_ms = round((time.perf_counter() - started) * 1000, 2)
        context.metrics.add_time("HandlerTime", duration_ms, None, "ms")
        return output

    def _answer(self, data: Any) -> Any:
        """Explain the batch or predict it."""
        started = time.perf_counter_ns()
        prepared = self.preprocess(data)
        if self._is_explain():
            return self.explain_handle(prepared, data)
        preprocessed = time.perf_counter_ns()
        output = self.inference(prepared)
        inferred = time.perf_counter_ns()
        output = self.postprocess(output)
        # A context that a user's own test made up may have no such method.
        note = getattr(self.context, "_note_steps", None)
        if note is not None:
            end = time.perf_counter_ns()
            note(preprocessed - started, inferred - preprocessed, end - inferred)
        return output

    def _answer_recorded(self, data: Any) -> Any:
        """Do the same under the names that the profiler's traces show."""
        with record_function("preprocess"):
            prepared = self.preprocess(data)
        if self._is_explain():
            with record_function("explain"):
                return self.explain_handle(prepared, data)
        with record_function("inference"):
            output = self.inference(prepared)
        with record_function("postprocess"):
            return self.postprocess(output)

    def _infer_with_profiler(self, data: Any) -> tuple[Any, Any]:
        """Answer a batch under torch's profiler, whose trace TensorBoard shows.

        Returns:
            (output, the profiler).
        """
        arguments = getattr(self, "profiler_args", None) or {}
        self.profiler_args = arguments
        manifest = getattr(self, "manifest", None) or self.context.manifest
        with _profile.profiler(arguments, manifest) as profiler:
            output = self._answer_recorded(data)
        _profile.log_table(profiler)
        return output, profiler

    def explain_handle(self, data_preprocess: Any, raw_data: Any) -> Any:
        """Explain the prediction of the first request.

        Args:
            data_preprocess: result of ``preprocess``.
            raw_data: the batch; its first row may name the class to explain as ``target``.

        Raises:
            AttributeError: the handler has no ``get_insights``.
        """
        row = raw_data[0]
        inputs = row.get("data") or row.get("body") if isinstance(row, dict) else row
        target = (row.get("target") if isinstance(row, dict) else None) or 0
        logger.info("Calculating explanations for target %s", target)
        insights: Any = self.get_insights  # type: ignore[attr-defined]
        return insights(data_preprocess, inputs, target)

    def _is_explain(self) -> bool:
        """Tell whether the first request asks for an explanation; remembers that one did."""
        if self._header("explain") == "True":
            self.explain = True
            return True
        return False

    def _is_describe(self) -> bool:
        """Tell whether the first request asks for the model's description."""
        return bool(self._header("describe") == "True")

    def _header(self, name: str) -> Any:
        """Return a header of the first request."""
        return self.context.get_request_header(0, name) if self.context else None

    def describe_handle(self) -> Any:
        """Describe the model in JSON's terms; nothing by default."""
        return None

    def get_device(self) -> Any:
        """Return the device of the model."""
        return self.device


def class_number(target: Any) -> Any:
    """Return the class to explain as a number where a form field has it as text.

    Anything but digits is returned as it is.
    """
    if isinstance(target, (bytes, bytearray)):
        target = bytes(target).decode("utf-8", "replace")
    return int(target) if isinstance(target, str) and target.isdecimal() else target


def setup_ort_session(model_pt_path: str, map_location: str | None) -> Any:
    """Open an ONNX model in onnxruntime, on CUDA if ``map_location`` is "cuda"."""
    return _exported.open_onnx(model_pt_path, map_location)


__all__ = [
    "IPEX_AVAILABLE",
    "ONNX_AVAILABLE",
    "PROFILER_AVAILABLE",
    "PT2_AVAILABLE",
    "PT230_AVAILABLE",
    "XLA_AVAILABLE",
    "BaseHandler",
    "ProfilerActivity",
    "class_number",
    "profile",
    "record_function",
    "setup_ort_session",
]
