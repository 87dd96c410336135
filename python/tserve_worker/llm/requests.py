"""Requests of the completions and chat APIs: a JSON body, checked, and what it asks of the engine.

Names and defaults are those of OpenAI's API reference; the parameters beyond it are vLLM's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_COMPLETION_TOKENS = 16

NUMBERS = (
    *("frequency_penalty", "min_p", "presence_penalty", "repetition_penalty"),
    *("temperature", "top_p"),
)
INTEGERS = ("min_tokens", "n", "seed", "top_k")
SWITCHES = (
    *("ignore_eos", "include_stop_str_in_output", "skip_special_tokens"),
    "spaces_between_special_tokens",
)
TEXTS = ("bad_words", "stop")
TOKENS = ("allowed_token_ids", "stop_token_ids")
"""Parameters that go to the engine under their own name, by what they have to be."""

NOT_SERVED = ("audio", "function_call", "functions", "prediction", "suffix", "tools")
"""What changes the answer, so that leaving it out would answer something else."""

NOT_FOR_CLIENTS = ("chat_template", "return_dict", "return_tensors", "tokenize")
"""Arguments of chat templates that are the server's: a template is a program."""


class RequestError(Exception):
    """The client has to ask in another way.

    Attributes:
        message: what is wrong.
        param: the parameter that is, if it is one.
        status: HTTP status of the answer.
        kind: name of the error in the answer.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        status: int = 400,
        kind: str = "BadRequestError",
    ) -> None:
        """Say what is wrong with which parameter."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status
        self.kind = kind


@dataclass
class GenerationRequest:
    """What both APIs have in common.

    Attributes:
        model: the model or adapter by name; None for the model.
        streams: whether the answer comes in parts.
        has_usage_part: whether the parts end with one that counts the tokens.
        sampling: arguments for the engine's sampling parameters.
        logprobs: how many alternatives of each token are told; None tells not even its own.
    """

    model: str | None
    streams: bool
    has_usage_part: bool
    sampling: dict[str, Any]
    logprobs: int | None = None

    @property
    def choices(self) -> int:
        """How many answers each prompt gets."""
        return int(self.sampling.get("n", 1))


@dataclass
class CompletionRequest(GenerationRequest):
    """``v1/completions``: texts, or tokens, to be continued."""

    prompts: list[str | list[int]] = field(default_factory=list)
    echoes: bool = False


@dataclass
class ChatRequest(GenerationRequest):
    """``v1/chat/completions``: a conversation to be continued."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    template_arguments: dict[str, Any] = field(default_factory=dict)


def read_body(row: Mapping[str, Any]) -> dict[str, Any]:
    """Find the JSON object in a row of the handler's data.

    Raises:
        RequestError: there is none.
    """
    body: Any = row.get("data") or row.get("body")
    if isinstance(body, (bytes, bytearray, str)):
        try:
            body = json.loads(body)
        except ValueError as exc:
            raise RequestError(f"the body is not JSON: {exc}") from exc
    if not isinstance(body, dict) or not body:
        raise RequestError(
            "the body has to be a JSON object; hint: send it with Content-Type: application/json"
        )
    return body


def read_completion(body: dict[str, Any]) -> CompletionRequest:
    """Check the body of a request to ``v1/completions``.

    Raises:
        RequestError: it cannot be served.
    """
    common = _read_common(body)
    request = CompletionRequest(
        **common, prompts=_prompts(body.get("prompt")), echoes=_switch(body, "echo")
    )
    request.sampling["max_tokens"] = _integer(body, "max_tokens", DEFAULT_COMPLETION_TOKENS)
    request.logprobs = _integer(body, "logprobs")
    best_of = _integer(body, "best_of")
    if best_of is not None and best_of != request.choices:
        raise RequestError("best_of is not served", "best_of")
    if request.echoes and request.logprobs is not None:
        raise RequestError("echo is not served together with logprobs", "echo")
    _ask_for_logprobs(request)
    return request


def read_chat(body: dict[str, Any]) -> ChatRequest:
    """Check the body of a request to ``v1/chat/completions``.

    Raises:
        RequestError: it cannot be served.
    """
    common = _read_common(body)
    arguments = body.get("chat_template_kwargs") or {}
    if not isinstance(arguments, dict):
        raise _wrong("chat_template_kwargs", "an object")
    for name in NOT_FOR_CLIENTS:
        if name in arguments or body.get(name):
            raise RequestError(f"{name} is not for clients to choose", name)
    generates = _switch(body, "add_generation_prompt", True)
    request = ChatRequest(
        **common,
        messages=_messages(body.get("messages")),
        template_arguments={**arguments, "add_generation_prompt": generates},
    )
    # Without a limit it is what is left of the model's context.
    limit = _integer(body, "max_completion_tokens", _integer(body, "max_tokens"))
    request.sampling["max_tokens"] = limit
    if _switch(body, "logprobs"):
        request.logprobs = _integer(body, "top_logprobs", 0)
    elif body.get("top_logprobs"):
        raise RequestError("top_logprobs needs logprobs", "top_logprobs")
    _ask_for_logprobs(request)
    return request


def _read_common(body: dict[str, Any]) -> dict[str, Any]:
    for name in NOT_SERVED:
        if body.get(name):
            raise RequestError(f"{name} is not served", name)
    wanted = body.get("response_format") or {}
    if not isinstance(wanted, dict) or wanted.get("type", "text") != "text":
        raise RequestError("response_format other than text is not served", "response_format")
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise _wrong("stream_options", "an object")
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise _wrong("model", "a text")
    return {
        "model": model,
        "streams": _switch(body, "stream"),
        "has_usage_part": _switch(options, "include_usage"),
        "sampling": _sampling(body),
    }


def _sampling(body: dict[str, Any]) -> dict[str, Any]:
    """Pick what goes to the engine; ranges are its business."""
    sampling: dict[str, Any] = {}
    for name in (*NUMBERS, *INTEGERS, *SWITCHES, *TEXTS, *TOKENS):
        value = body.get(name)
        if value is None:
            continue
        if name in NUMBERS:
            is_right, kind = _is_number(value), "a number"
        elif name in INTEGERS:
            is_right, kind = _is_integer(value), "an integer"
        elif name in SWITCHES:
            is_right, kind = isinstance(value, bool), "true or false"
        elif name in TEXTS:
            value = [value] if isinstance(value, str) else value
            is_right, kind = _is_list_of(value, str), "a list of texts"
        else:
            is_right, kind = _is_list_of(value, int), "a list of tokens"
        if not is_right:
            raise _wrong(name, kind)
        sampling[name] = value
    if sampling.get("n", 1) < 1:
        raise RequestError("n has to be at least 1", "n")
    if body.get("logit_bias") is not None:
        sampling["logit_bias"] = _biases(body["logit_bias"])
    return sampling


def _biases(value: Any) -> dict[int, float]:
    try:
        return {int(token): float(bias) for token, bias in value.items()}
    except (AttributeError, TypeError, ValueError) as exc:
        raise _wrong("logit_bias", "an object of numbers by token") from exc


def _prompts(value: Any) -> list[str | list[int]]:
    """Make a list of prompts of the four forms that OpenAI knows."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if _is_list_of(value, int):
            return [value]
        if all(isinstance(one, str) or (one and _is_list_of(one, int)) for one in value):
            return list(value)
    raise _wrong("prompt", "a text, a list of texts, or tokens")


def _messages(value: Any) -> list[dict[str, Any]]:
    """Check a conversation; contents that are lists of texts become texts."""
    if not _is_list_of(value, dict) or not value:
        raise _wrong("messages", "a list of objects")
    messages = []
    for number, message in enumerate(value):
        where = f"messages[{number}]"
        if not isinstance(message.get("role"), str):
            raise _wrong(f"{where}.role", "a text")
        content = message.get("content")
        if isinstance(content, list):
            texts = [
                part["text"]
                for part in content
                if isinstance(part, dict)
                and part.get("type") == "text"
                and isinstance(part.get("text"), str)
            ]
            if len(texts) != len(content):
                raise RequestError("only parts of type text are served", f"{where}.content")
            content = "\n".join(texts)
        elif content is not None and not isinstance(content, str):
            raise _wrong(f"{where}.content", "a text, or a list of parts")
        messages.append({**message, "content": content or ""})
    return messages


def _ask_for_logprobs(request: GenerationRequest) -> None:
    if request.logprobs is not None:
        request.sampling["logprobs"] = request.logprobs


def _switch(body: dict[str, Any], name: str, default: bool = False) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _wrong(name, "true or false")
    return value


def _integer(body: dict[str, Any], name: str, default: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if not _is_integer(value):
        raise _wrong(name, "an integer")
    return int(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list_of(value: Any, kind: type) -> bool:
    """Tell whether a value is a list of one kind; truth values are no numbers."""
    return isinstance(value, list) and all(
        isinstance(one, kind) and (kind is bool or not isinstance(one, bool)) for one in value
    )


def _wrong(name: str, kind: str) -> RequestError:
    return RequestError(f"{name} has to be {kind}", name)
