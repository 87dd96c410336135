"""``VLLMHandler``: a language model on vLLM's asynchronous engine, with OpenAI's APIs.

Source: TorchServe ``ts/torch_handler/vllm_handler.py``, for configuration, routes and streams.
Unlike there the requests and answers are tserve's own: vLLM moves its own from release to release.
"""

from __future__ import annotations

import logging
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

from tserve_worker.errors import PredictionException
from tserve_worker.handler_utils.utils import send_intermediate_predict_response
from tserve_worker.llm import answers, requests
from tserve_worker.llm.engine import Engine, locate
from tserve_worker.llm.side_by_side import side_by_side

logger = logging.getLogger(__name__)

ROUTES = {
    "v1/completions": requests.read_completion,
    "v1/chat/completions": requests.read_chat,
}
MODELS = "v1/models"


class VLLMHandler:
    """Serves ``v1/completions``, ``v1/chat/completions`` and ``v1/models`` below predictions.

    The section ``handler`` of model-config.yaml has ``vllm_engine_config`` (fields of vLLM's
    ``AsyncEngineArgs``), ``model_path``, ``adapters`` and ``chat_template``.

    Attributes:
        engine: the model.
        chat_template: a Jinja template; None for the tokenizer's own.
        initialized: whether ``initialize`` is through.
    """

    def __init__(self) -> None:
        """Start without a model."""
        super().__init__()
        self.engine: Any = None
        self.chat_template: str | None = None
        self.initialized = False

    def initialize(self, context: Any) -> None:
        """Load the model.

        Raises:
            ModuleNotFoundError: vLLM is not installed; the text says how to get it.
            ValueError: the configuration names no model, or something that does not exist.
        """
        model_dir = str(context.system_properties.get("model_dir"))
        config = (context.model_yaml_config or {}).get("handler") or {}
        settings = dict(config.get("vllm_engine_config") or {})
        model = settings.pop("model", None) or config.get("model_path")
        if not model:
            raise ValueError(
                "no model; hint: model_path or vllm_engine_config: {model} in the section handler "
                "of model-config.yaml"
            )
        adapters = {
            str(name): locate(model_dir, str(path))
            for name, path in (config.get("adapters") or {}).items()
        }
        self.chat_template = _read_template(model_dir, config.get("chat_template"))
        self.engine = Engine(settings, locate(model_dir, str(model)), adapters)
        self.initialized = True

    async def handle(self, data: Any, context: Any) -> list[Any]:
        """Answer one request; what is wrong with it is told in OpenAI's form.

        Raises:
            PredictionException: there is no such endpoint.
            SystemExit: the engine is dead, so that the server starts another worker.
        """
        if len(data) != 1:
            raise PredictionException("one request at a time; hint: batchSize: 1", 500)
        begun = time.monotonic()
        try:
            answer = await self.inference(data[0], context)
        except requests.RequestError as exc:
            answer = answers.request_error(exc)
            context.set_response_status(exc.status, "", 0)
            context.set_response_content_type(0, "application/json")
        except Exception:
            if self.engine.is_dead():
                logger.exception("vLLM's engine is dead, and the worker with it")
                raise SystemExit(1) from None
            raise
        context.metrics.add_time("HandlerTime", (time.monotonic() - begun) * 1000, None, "ms")
        return [answer]

    async def inference(self, row: Any, context: Any) -> Any:
        """Find out what is asked, and generate it.

        Returns:
            the answer, or the last part of it.

        Raises:
            PredictionException: there is no such endpoint.
            RequestError: the request cannot be served.
        """
        url = str(context.get_request_header(0, "url_path") or "").strip("/")
        if url == MODELS:
            context.set_response_content_type(0, "application/json")
            names = list(self.engine.adapters)
            return answers.models(self.engine.names, names, self.engine.root)
        if url not in ROUTES:
            known = ", ".join((*ROUTES, MODELS))
            raise PredictionException(f"Unknown API endpoint: {url!r}; hint: {known}", 404)
        request = ROUTES[url](requests.read_body(row))
        adapter = self.engine.adapter(request.model)
        parameters = self.engine.sampling(request.sampling, request.streams)
        prompts = await self._prompts(request)
        identity = str(context.get_request_id(0))
        writer = answers.Writer(request, identity, request.model or self.engine.names[0])
        outputs = side_by_side(
            [
                self.engine.generate(prompt, parameters, f"{identity}-{number}", adapter)
                for number, prompt in enumerate(prompts)
            ]
        )
        echoes = await self._echoes(request)
        async with aclosing(outputs):
            if request.streams:
                return await self._stream(request, writer, outputs, echoes, context)
            last: dict[int, Any] = {}
            async for number, output in outputs:
                last[number] = output
        choices = []
        for number, output in sorted(last.items()):
            writer.count(number, output)
            for choice in sorted(output.outputs, key=lambda one: one.index):
                index = number * request.choices + choice.index
                choices.append((index, choice, echoes[number]))
        context.set_response_content_type(0, "application/json")
        return writer.whole(choices)

    async def _stream(
        self, request: Any, writer: answers.Writer, outputs: Any, echoes: list[str], context: Any
    ) -> str:
        """Send the answer in parts, and return the last one."""
        has_begun = False

        def send(part: str) -> None:
            nonlocal has_begun
            if not has_begun:
                context.set_response_content_type(0, "text/event-stream")
                has_begun = True
            send_intermediate_predict_response(
                [part], context.request_ids, "Intermediate Prediction success", 200, context
            )

        try:
            async for number, output in outputs:
                writer.count(number, output)
                for choice in output.outputs:
                    index = number * request.choices + choice.index
                    for part in writer.part(index, choice, echoes[number]):
                        send(part)
        except ConnectionError:
            # The client has left, which is no failure of the engine.
            raise
        except Exception as exc:
            if not has_begun or self.engine.is_dead():
                raise
            logger.exception("a stream failed")
            send(answers.event(answers.error(str(exc), "InternalServerError", 500)))
        else:
            if request.has_usage_part:
                send(writer.usage_part())
        return answers.DONE

    async def _prompts(self, request: Any) -> list[str | list[int]]:
        """Return what the engine is to continue.

        Raises:
            RequestError: the template does not take the conversation.
        """
        if isinstance(request, requests.CompletionRequest):
            return request.prompts
        tokenizer = await self.engine.tokenizer()
        arguments = {**request.template_arguments, "tokenize": True, "return_dict": False}
        if self.chat_template is not None:
            arguments["chat_template"] = self.chat_template
        try:
            return [list(tokenizer.apply_chat_template(request.messages, **arguments))]
        except Exception as exc:
            # Templates raise what they like, mostly for roles that they do not know.
            message = f"the chat template does not take these messages: {exc}"
            raise requests.RequestError(message, "messages") from exc

    async def _echoes(self, request: Any) -> list[str]:
        """Return the text that goes before each prompt's answers."""
        if not isinstance(request, requests.CompletionRequest):
            return [""]
        if not request.echoes:
            return [""] * len(request.prompts)
        tokenizer = await self.engine.tokenizer()
        return [
            prompt if isinstance(prompt, str) else str(tokenizer.decode(prompt))
            for prompt in request.prompts
        ]


def _read_template(model_dir: str, template: Any) -> str | None:
    """Return the text of a chat template, given as it is or as a file.

    Raises:
        ValueError: it names a file that is not there.
    """
    if not template:
        return None
    text = str(template)
    if "{" in text or "\n" in text:
        return text
    file = Path(locate(model_dir, text))
    if not file.is_file():
        raise ValueError(f"chat_template is {text!r}, neither a template nor a file")
    return file.read_text(encoding="utf-8")
