"""The few calls of vLLM that tserve makes: everything else of it may change."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import inspect
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tserve_worker import _extras
from tserve_worker.llm.requests import RequestError

logger = logging.getLogger(__name__)


class Engine:
    """vLLM's asynchronous engine with one model and its adapters.

    Attributes:
        names: what requests may call the model; the first one is used in answers by default.
        adapters: vLLM's ``LoRARequest`` by the name of the adapter.
        root: where the model came from.
    """

    def __init__(self, settings: dict[str, Any], model: str, adapters: dict[str, str]) -> None:
        """Load the model.

        Args:
            settings: any fields of vLLM's ``AsyncEngineArgs`` but the model.
            model: folder, or name on the Hugging Face hub.
            adapters: folder by name.

        Raises:
            ModuleNotFoundError: vLLM is not installed.
            ValueError: a setting does not exist.
        """
        vllm = _extras.load("vllm")
        self._parameters = _extras.load("vllm.sampling_params")
        self._refusals: tuple[type[Exception], ...] = _refusals()
        if adapters:
            settings = {"enable_lora": True, **settings}
        _check_names(settings, vllm.AsyncEngineArgs)
        self.root = model
        served = settings.get("served_model_name") or [model]
        self.names = [served] if isinstance(served, str) else [str(name) for name in served]
        self.adapters: dict[str, Any] = {}
        if adapters:
            lora = _extras.load("vllm.lora.request")
            for number, (name, path) in enumerate(adapters.items(), 1):
                self.adapters[name] = lora.LoRARequest(name, number, path)
        arguments = vllm.AsyncEngineArgs(**{**settings, "model": model})
        self._engine = vllm.AsyncLLMEngine.from_engine_args(arguments)
        logger.info("vLLM %s has loaded %s", getattr(vllm, "__version__", ""), model)

    def is_dead(self) -> bool:
        """Tell whether the engine will answer nothing any more."""
        return bool(getattr(self._engine, "errored", False))

    def adapter(self, model: str | None) -> Any:
        """Return the adapter that a request names, None for the model itself.

        Raises:
            RequestError: there is neither.
        """
        if model is None or model in self.names:
            return None
        if model in self.adapters:
            return self.adapters[model]
        raise RequestError(f"The model `{model}` does not exist.", "model", 404, "NotFoundError")

    def sampling(self, arguments: dict[str, Any], streams: bool) -> Any:
        """Make vLLM's sampling parameters.

        Raises:
            RequestError: vLLM does not take them.
        """
        kinds = self._parameters.RequestOutputKind
        kind = kinds.DELTA if streams else kinds.FINAL_ONLY
        refusals: tuple[type[Exception], ...] = (TypeError, *self._refusals)
        try:
            return self._parameters.SamplingParams(**arguments, output_kind=kind)
        except refusals as exc:
            raise RequestError(str(exc)) from exc

    async def tokenizer(self) -> Any:
        """Return the model's tokenizer."""
        found = self._engine.get_tokenizer()
        return await found if inspect.isawaitable(found) else found

    async def generate(
        self, prompt: str | list[int], parameters: Any, identity: str, adapter: Any
    ) -> AsyncIterator[Any]:
        """Generate; leaving the loop early tells the engine to stop.

        Raises:
            RequestError: the engine does not take the prompt.
        """
        wanted = prompt if isinstance(prompt, str) else {"prompt_token_ids": prompt}
        outputs = self._engine.generate(wanted, parameters, identity, lora_request=adapter)
        has_begun = False
        async with contextlib.aclosing(outputs):
            try:
                async for output in outputs:
                    has_begun = True
                    yield output
            except self._refusals as exc:
                if has_begun:
                    raise
                raise RequestError(str(exc)) from exc


def locate(model_dir: str, path: str) -> str:
    """Return a path below the model's folder if it is there, else what was given."""
    inside = Path(model_dir, path)
    return str(inside) if inside.exists() else path


def _refusals() -> tuple[type[Exception], ...]:
    """Name the exceptions by which vLLM says that a request is wrong; newer ones have their own."""
    try:
        own = importlib.import_module("vllm.exceptions").VLLMClientError
    except (ImportError, AttributeError):
        return (ValueError,)
    return (ValueError, own)


def _check_names(settings: dict[str, Any], arguments: Any) -> None:
    """See to it that all settings exist in this release of vLLM.

    Raises:
        ValueError: one does not; the text has the nearest that does.
    """
    known = [field.name for field in dataclasses.fields(arguments)]
    for name in settings:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, 1)
            hint = f"; hint: {nearest[0]}?" if nearest else ""
            raise ValueError(f"vllm_engine_config has {name!r}, which vLLM does not know{hint}")
