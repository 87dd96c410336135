"""``import ts...`` leads to tserve, under TorchServe's names, whatever else is installed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = Path(__file__).resolve().parents[2] / "python"

WITHOUT_TORCH = {
    "ts": ["__version__"],
    "ts.version": ["__version__"],
    "ts.context": ["Context", "RequestProcessor"],
    "ts.handler_utils.timer": ["timed"],
    "ts.handler_utils.utils": ["import_class", "send_intermediate_predict_response"],
    "ts.handler_utils.text_utils": ["get_tokenizer", "ngrams_iterator"],
    "ts.handler_utils.micro_batching": ["MicroBatching"],
    "ts.handler_utils.distributed.deepspeed": ["create_checkpoints_json", "get_ds_engine"],
    "ts.handler_utils.distributed.pt_pippy": ["get_pipeline_driver", "initialize_rpc_workers"],
    "ts.launcher": [
        "PrintTillTheEnd",
        "Tee",
        "register_model",
        "register_model_with_params",
        "start",
        "stop",
    ],
    "ts.llm_launcher": ["main"],
    "ts.model_loader": ["ModelLoader", "ModelLoaderFactory", "TsModelLoader"],
    "ts.model_service.model_service": ["ModelService", "SingleNodeService"],
    "ts.protocol.otf_message_handler": [
        "END_OF_LIST",
        "LOAD_MSG",
        "PREDICT_MSG",
        "RESPONSE",
        "bool_size",
        "create_load_model_response",
        "create_predict_response",
        "encode_response_headers",
        "int_size",
        "retrieve_msg",
        "send_intermediate_predict_response",
    ],
    "ts.service": ["PREDICTION_METRIC", "Service", "emit_metrics"],
    "ts.torch_handler.unit_tests.test_utils.model_dir": ["copy_files", "download_model"],
    "ts.metrics.caching_metric": ["CachingMetric"],
    "ts.metrics.dimension": ["Dimension"],
    "ts.metrics.metric": ["Metric"],
    "ts.metrics.metric_cache_abstract": ["MetricCacheAbstract"],
    "ts.metrics.metric_cache_errors": [
        "GeneralMetricsCacheError",
        "MetricsCacheIOError",
        "MetricsCacheKeyError",
        "MetricsCachePyYamlError",
        "MetricsCacheTypeError",
        "MetricsCacheValueError",
    ],
    "ts.metrics.metric_cache_yaml_impl": ["MetricsCacheYamlImpl"],
    "ts.metrics.metric_encoder": ["MetricEncoder"],
    "ts.metrics.metric_type_enum": ["MetricTypes"],
    "ts.metrics.metrics_store": ["MetricsStore"],
    "ts.metrics.unit": ["Units"],
    "ts.torch_handler.request_envelope.base": ["BaseEnvelope"],
    "ts.torch_handler.request_envelope.body": ["BodyEnvelope"],
    "ts.torch_handler.request_envelope.json": ["JSONEnvelope"],
    "ts.torch_handler.request_envelope.kserve": ["KServeEnvelope"],
    "ts.torch_handler.request_envelope.kservev2": ["KServev2Envelope"],
    "ts.torch_handler.trt_llm_handler": ["TRTLLMHandler"],
    "ts.torch_handler.unit_tests.test_utils.mock_context": ["MockContext"],
    "ts.torch_handler.vllm_handler": ["VLLMHandler"],
    "ts.utils.util": [
        "CLEANUP_REGEX",
        "PT2Backend",
        "PredictionException",
        "check_valid_pt2_backend",
        "deprecated",
        "get_yaml_config",
        "list_classes_from_module",
        "load_label_mapping",
        "map_class_to_label",
    ],
}

WITH_TORCH = {
    "ts.torch_handler.base_handler": [
        "BaseHandler",
        "IPEX_AVAILABLE",
        "ONNX_AVAILABLE",
        "PROFILER_AVAILABLE",
        "PT230_AVAILABLE",
        "PT2_AVAILABLE",
        "XLA_AVAILABLE",
        "setup_ort_session",
    ],
    "ts.torch_handler.distributed.base_deepspeed_handler": ["BaseDeepSpeedHandler"],
    "ts.torch_handler.distributed.base_pippy_handler": ["BasePippyHandler"],
}

WITH_TORCHVISION = {
    "ts.torch_handler.image_classifier": ["ImageClassifier"],
    "ts.torch_handler.image_segmenter": ["ImageSegmenter"],
    "ts.torch_handler.object_detector": ["ObjectDetector"],
    "ts.torch_handler.vision_handler": ["VisionHandler"],
}


@pytest.mark.parametrize("module", sorted(WITHOUT_TORCH))
def test_name_is_there(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in WITHOUT_TORCH[module] if not hasattr(found, name)] == []


@pytest.mark.parametrize("module", sorted(WITH_TORCH))
def test_name_with_torch_is_there(module: str) -> None:
    pytest.importorskip("torch")
    found = importlib.import_module(module)
    assert [name for name in WITH_TORCH[module] if not hasattr(found, name)] == []


@pytest.mark.parametrize("module", sorted(WITH_TORCHVISION))
def test_name_with_torchvision_is_there(module: str) -> None:
    pytest.importorskip("torchvision")
    found = importlib.import_module(module)
    assert [name for name in WITH_TORCHVISION[module] if not hasattr(found, name)] == []


def test_both_names_are_one_module() -> None:
    import tserve_worker._context
    import tserve_worker.metrics.dimension

    context = importlib.import_module("ts.context")
    assert context is tserve_worker._context
    assert context.__spec__ is not None
    assert context.__spec__.name == "tserve_worker._context"
    dimension = importlib.import_module("ts.metrics.dimension")
    assert dimension is tserve_worker.metrics.dimension
    assert importlib.import_module("ts").metrics.dimension is dimension


@pytest.mark.parametrize(
    "name", ["ts.nothing", "ts.metrics.nothing", "ts.protocol.nothing", "ts.context.nothing"]
)
def test_unknown_name_is_an_import_error(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name):
        importlib.import_module(name)


def run(code: str, *path: Path) -> str:
    """Run code in a fresh interpreter with directories in front of its import path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, PYTHON]))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def old_torchserve(tmp_path: Path) -> Path:
    """A directory with another package ``ts``, found before ours."""
    package = tmp_path / "old" / "ts"
    (package / "metrics").mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '0.12.0'\n")
    (package / "context.py").write_text("class Context: pass\n")
    (package / "arg_parser.py").write_text("")
    (package / "metrics" / "__init__.py").write_text("raise RuntimeError('the old one')\n")
    return package.parent


def test_worker_sees_its_own_names_where_the_old_package_is_installed(
    old_torchserve: Path,
) -> None:
    code = """
from tserve_worker import _ts_names, Context
_ts_names.install()
import ts, ts.context, ts.metrics
assert ts.context.Context is Context
try:
    import ts.arg_parser
except ModuleNotFoundError:
    print("only ours")
"""
    assert run(code, old_torchserve) == "only ours"


def test_unit_tests_of_handlers_import_ts_without_a_worker() -> None:
    code = """
import ts
from ts.context import Context
import tserve_worker
print(Context is tserve_worker.Context, ts.__version__ == tserve_worker.__version__)
"""
    assert run(code) == "True True"


def test_worker_loads_no_torch_by_itself() -> None:
    code = """
import sys
import tserve_worker.__main__, tserve_worker._loader, tserve_worker._loop
import ts.handler_utils.timer, ts.metrics.metrics_store
import ts.torch_handler.unit_tests.test_utils.mock_context
print(sorted({"torch", "numpy", "torchvision"} & set(sys.modules)))
"""
    assert run(code) == "[]"


def test_modules_pickle_under_the_name_that_users_know() -> None:
    code = """
import pickle, ts
from ts.context import Context
text = pickle.dumps(Context)
assert b"ts.context" in text
assert pickle.loads(text) is Context
"""
    run(code)
