"""``TRTLLMHandler``: a language model on TensorRT-LLM.

Source: TorchServe ``ts/torch_handler/trt_llm_handler.py``, for configuration, requests and answers.
"""

from __future__ import annotations

import inspect
import json
import time
from typing import Any

from tserve_worker import _extras
from tserve_worker.errors import PredictionException
from tserve_worker.handler_utils.utils import send_intermediate_predict_response
from tserve_worker.llm.engine import locate


class TRTLLMHandler:
    """Answers ``{"prompt", "streaming", ...}`` with the text that the model adds to the prompt.

    What else a request has are fields of TensorRT-LLM's ``SamplingParams``. The section ``handler``
    of model-config.yaml has ``engine_dir`` (an engine, or a model that TensorRT-LLM makes one of),
    ``tokenizer_dir``, ``kv_cache_config``, and in ``trt_llm_engine_config`` whatever else ``LLM``
    takes; these three may stand there too.

    Attributes:
        engine: TensorRT-LLM's ``LLM``.
        initialized: whether ``initialize`` is through.
    """

    def __init__(self) -> None:
        """Start without a model."""
        super().__init__()
        self.engine: Any = None
        self.initialized = False
        self._sampling: Any = None

    def initialize(self, context: Any) -> None:
        """Load the model.

        Raises:
            ModuleNotFoundError: TensorRT-LLM is not installed; the text says how to get it.
            ValueError: the configuration names no engine.
        """
        model_dir = str(context.system_properties.get("model_dir"))
        config = (context.model_yaml_config or {}).get("handler") or {}
        settings = dict(config.get("trt_llm_engine_config") or {})
        for name in ("engine_dir", "tokenizer_dir", "kv_cache_config"):
            settings.setdefault(name, config.get(name))
        engine, tokenizer = settings.pop("engine_dir"), settings.pop("tokenizer_dir")
        cache = settings.pop("kv_cache_config")
        if not engine:
            raise ValueError(
                "no engine; hint: engine_dir in the section handler of model-config.yaml"
            )
        package = _package()
        if tokenizer:
            settings["tokenizer"] = locate(model_dir, str(tokenizer))
        if cache:
            settings["kv_cache_config"] = package.KvCacheConfig(**cache)
        self.engine = package.LLM(model=locate(model_dir, str(engine)), **settings)
        self._sampling = package.SamplingParams
        self.initialized = True

    async def handle(self, data: Any, context: Any) -> list[Any]:
        """Answer one request: its text, or parts of it and an empty end.

        Raises:
            PredictionException: the request is not as it has to be.
        """
        if len(data) != 1:
            raise PredictionException("one request at a time; hint: batchSize: 1", 500)
        begun = time.monotonic()
        prompt, streams, parameters = self.preprocess(data[0])
        answer = await self.inference(prompt, streams, parameters, context)
        context.metrics.add_time("HandlerTime", (time.monotonic() - begun) * 1000, None, "ms")
        return [answer]

    def preprocess(self, row: Any) -> tuple[Any, bool, Any]:
        """Take a request apart: prompt, whether the answer is a stream, sampling parameters.

        Raises:
            PredictionException: the request is not as it has to be.
        """
        body: Any = row.get("data") or row.get("body")
        if isinstance(body, (bytes, bytearray, str)):
            try:
                body = json.loads(body)
            except ValueError as exc:
                raise PredictionException(f"the body is not JSON: {exc}", 400) from exc
        if not isinstance(body, dict) or not body.get("prompt"):
            raise PredictionException("the body has to be a JSON object with a prompt", 400)
        wishes = {
            name: value for name, value in body.items() if name not in ("prompt", "streaming")
        }
        try:
            parameters = self._sampling(**wishes)
        except (TypeError, ValueError) as exc:
            raise PredictionException(str(exc), 400) from exc
        return body["prompt"], bool(body.get("streaming", False)), parameters

    async def inference(self, prompt: Any, streams: bool, parameters: Any, context: Any) -> str:
        """Generate; return the text, or the end of the stream.

        Raises:
            PredictionException: the engine does not take the request.
        """
        try:
            result = self.engine.generate_async(prompt, parameters, streaming=streams)
        except ValueError as exc:
            raise PredictionException(str(exc), 400) from exc
        is_done = False
        try:
            if streams:
                sent = 0
                async for output in result:
                    # The engine tells the whole text each time.
                    text = str(output.outputs[0].text)
                    if len(text) > sent:
                        send_intermediate_predict_response(
                            [{"text": text[sent:]}],
                            context.request_ids,
                            "Intermediate Prediction success",
                            200,
                            context,
                        )
                        sent = len(text)
                answer = ""
            else:
                answer = str((await result).outputs[0].text)
            is_done = True
            return answer
        finally:
            if not is_done:
                await _abort(result)


async def _abort(result: Any) -> None:
    """Tell the engine that nobody waits for a result any more."""
    abort = getattr(result, "abort", None)
    if callable(abort):
        aborted = abort()
        if inspect.isawaitable(aborted):
            await aborted


def _package() -> Any:
    """Import TensorRT-LLM's high-level interface, which was called otherwise until 0.14.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    _extras.load("tensorrt_llm")
    try:
        return _extras.load("tensorrt_llm.llmapi")
    except ModuleNotFoundError as exc:
        if exc.name != "tensorrt_llm.llmapi":
            raise
        return _extras.load("tensorrt_llm.hlapi")
