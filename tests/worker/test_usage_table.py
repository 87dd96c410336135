"""Every name of `ts` that handlers, examples and tests were seen to import, here or explained."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"

# From a scan of TorchServe's examples, documents and tests, the most used first; then what handlers
# may load by name.
NAMES = """
ts.torch_handler.base_handler BaseHandler
ts.torch_handler.image_classifier ImageClassifier
ts.context Context
ts.torch_handler.unit_tests.test_utils.mock_context MockContext
ts.handler_utils.utils send_intermediate_predict_response
ts.handler_utils.timer timed
ts.metrics.dimension Dimension
ts.handler_utils.micro_batching MicroBatching
ts.handler_utils.utils import_class
ts.utils.util load_label_mapping
ts __version__
ts.handler_utils.distributed.deepspeed get_ds_engine
ts.handler_utils.hf_batch_streamer TextIteratorStreamerBatch
ts.metrics.metric_cache_yaml_impl MetricsCacheYamlImpl
ts.metrics.metric_type_enum MetricTypes
ts.metrics.metrics_store MetricsStore
ts.model_service.model_service SingleNodeService
ts.service Service
ts.service emit_metrics
ts.torch_handler.distributed.base_deepspeed_handler BaseDeepSpeedHandler
ts.torch_handler.distributed.base_pippy_handler BasePippyHandler
ts.torch_handler.object_detector ObjectDetector
ts.torch_handler.request_envelope.json JSONEnvelope
ts.torch_handler.unit_tests.test_utils.model_dir download_model
ts.utils.util PredictionException
ts.utils.util list_classes_from_module
ts.utils.util map_class_to_label
ts.metrics.metric_cache_errors MetricsCacheKeyError
ts.protocol.otf_message_handler create_predict_response
ts.context RequestProcessor
ts.handler_utils.distributed.pt_pippy get_pipeline_driver
ts.handler_utils.distributed.pt_pippy get_pipline_driver
ts.handler_utils.distributed.pt_pippy initialize_rpc_workers
ts.launcher start
ts.launcher stop
ts.launcher register_model
ts.launcher register_model_with_params
ts.metrics.caching_metric CachingMetric
ts.metrics.metric Metric
ts.metrics.process_memory_metric check_process_mem_usage
ts.model_loader ModelLoaderFactory
ts.model_loader TsModelLoader
ts.model_service_worker TorchModelServiceWorker
ts.protocol.otf_message_handler send_intermediate_predict_response
ts.torch_handler.base_handler PROFILER_AVAILABLE
ts.torch_handler.dali_handler DALIHandler
ts.torch_handler.dali_image_classifier DALIImageClassifier
ts.torch_handler.image_segmenter ImageSegmenter
ts.torch_handler.request_envelope.body BodyEnvelope
ts.torch_handler.request_envelope.kserve KServeEnvelope
ts.torch_handler.request_envelope.kservev2 KServev2Envelope
ts.torch_handler.unit_tests.test_utils.model_dir copy_files
ts.utils.util CLEANUP_REGEX
ts.utils.util check_valid_pt2_backend
ts.utils.util deprecated
ts.utils.util get_yaml_config
ts.version __version__
ts.torch_handler.text_handler TextHandler
ts.torch_handler.text_classifier TextClassifier
ts.torch_handler.vision_handler VisionHandler
ts.torch_handler.densenet_handler DenseNetHandler
ts.torch_handler.vllm_handler VLLMHandler
ts.torch_handler.trt_llm_handler TRTLLMHandler
ts.handler_utils.preprocess.dali get_dali_pipeline
ts.handler_utils.text_utils get_tokenizer
ts.metrics.system_metrics collect_all
ts.utils.hf_utils download_model
ts.llm_launcher main
"""

OPTIONAL = {
    *("PIL", "captum", "deepspeed", "huggingface_hub", "numpy", "nvidia", "pippy", "psutil"),
    *("tensorrt_llm", "torch", "torchvision", "transformers", "vllm"),
}
"""Packages that a module may need; it is skipped, with the reason, where they are absent."""


@pytest.mark.parametrize("line", NAMES.strip().splitlines())
def test_name_is_here_or_explained(line: str) -> None:
    module, name = line.split()
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        needed = re.search(r"needs the package '(\w+)'", str(error))
        absent = needed[1] if needed else (error.name or "").partition(".")[0]
        if absent in OPTIONAL and importlib.util.find_spec(absent) is None:
            pytest.skip(f"needs {absent}")
        found = None
    if found is None or not hasattr(found, name):
        assert f"`{module}.{name}`" in DOCUMENT.read_text(), "neither here nor explained"
