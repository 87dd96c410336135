"""Answers of the completions and chat APIs, whole or in parts, in OpenAI's form."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from tserve_worker.llm.requests import ChatRequest, RequestError

DONE = "data: [DONE]\n\n"
"""The end of every stream."""


def event(value: object) -> str:
    """Write one part of a stream, a server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


def error(message: str, kind: str, status: int, param: str | None = None) -> dict[str, Any]:
    """Write an error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def request_error(wrong: RequestError) -> dict[str, Any]:
    """Write what is wrong with a request."""
    return error(wrong.message, wrong.kind, wrong.status, wrong.param)


def models(names: Sequence[str], adapters: Sequence[str], root: str) -> dict[str, Any]:
    """List what requests may name: the model under its names, then its adapters."""
    created = int(time.time())

    def entry(name: str, parent: str | None) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "tserve",
            "root": root if parent is None else name,
            "parent": parent,
        }

    listed = [entry(name, None) for name in names]
    return {"object": "list", "data": listed + [entry(name, names[0]) for name in adapters]}


class Writer:
    """Writes the answer to one request, from what the engine says of its choices."""

    def __init__(self, request: Any, identity: str, model: str) -> None:
        """Name the answer and the model in all of its parts."""
        self._is_chat = isinstance(request, ChatRequest)
        self._request = request
        kind = "chat.completion" if self._is_chat else "text_completion"
        if self._is_chat and request.streams:
            kind += ".chunk"
        self._head = {
            "id": f"{'chatcmpl' if self._is_chat else 'cmpl'}-{identity}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }
        self._begun: set[int] = set()
        self._offsets: dict[int, int] = {}
        self._prompt_tokens: dict[int, int] = {}
        self._completion_tokens = 0

    def count(self, prompt: int, output: Any) -> None:
        """Count the tokens of what the engine sent for one of the prompts."""
        self._prompt_tokens[prompt] = len(output.prompt_token_ids or ())
        self._completion_tokens += sum(len(choice.token_ids) for choice in output.outputs)

    def whole(self, choices: list[tuple[int, Any, str]]) -> dict[str, Any]:
        """Write the whole answer.

        Args:
            choices: by place: its number, what the engine says, and the text before it.
        """
        return {
            **self._head,
            "choices": [self._choice(*choice) for choice in choices],
            "usage": self._usage(),
        }

    def part(self, index: int, choice: Any, before: str) -> list[str]:
        """Write what the engine has added to one choice, as events."""
        is_first = index not in self._begun
        self._begun.add(index)
        events = []
        if self._is_chat and is_first:
            opening = {"role": "assistant", "content": ""}
            events.append(self._event([{"index": index, "delta": opening, "finish_reason": None}]))
        if choice.text or choice.token_ids or choice.finish_reason:
            events.append(self._event([self._choice(index, choice, before if is_first else "")]))
        return events

    def usage_part(self) -> str:
        """Write the part that counts the tokens."""
        return event({**self._head, "choices": [], "usage": self._usage()})

    def _event(self, choices: list[dict[str, Any]]) -> str:
        usage = {"usage": None} if self._request.has_usage_part else {}
        return event({**self._head, "choices": choices, **usage})

    def _usage(self) -> dict[str, int]:
        prompt, completion = sum(self._prompt_tokens.values()), self._completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def _choice(self, index: int, choice: Any, before: str) -> dict[str, Any]:
        if not self._is_chat:
            content: dict[str, Any] = {"text": before + choice.text}
        elif self._request.streams:
            content = {"delta": {"content": choice.text}}
        else:
            content = {"message": {"role": "assistant", "content": choice.text}}
        return {
            "index": index,
            **content,
            "logprobs": self._logprobs(index, choice),
            "finish_reason": choice.finish_reason,
            "stop_reason": choice.stop_reason,
        }

    def _logprobs(self, index: int, choice: Any) -> dict[str, Any] | None:
        if self._request.logprobs is None or choice.logprobs is None:
            return None
        places = list(zip(choice.token_ids, choice.logprobs, strict=False))
        if self._is_chat:
            return {"content": [self._chat_logprob(token, place) for token, place in places]}
        tokens = [_text(token, place[token]) for token, place in places]
        offsets = []
        offset = self._offsets.get(index, 0)
        for text in tokens:
            offsets.append(offset)
            offset += len(text)
        self._offsets[index] = offset
        return {
            "tokens": tokens,
            "token_logprobs": [_number(place[token]) for token, place in places],
            "top_logprobs": [
                {_text(other, its): _number(its) for other, its in place.items()}
                for _, place in places
            ],
            "text_offset": offsets,
        }

    def _chat_logprob(self, token: int, place: Any) -> dict[str, Any]:
        def entry(other: int, its: Any) -> dict[str, Any]:
            text = _text(other, its)
            return {"token": text, "logprob": _number(its), "bytes": list(text.encode())}

        ranked = sorted(place.items(), key=lambda item: -_number(item[1]))
        best = ranked[: self._request.logprobs]
        return {
            **entry(token, place[token]),
            "top_logprobs": [entry(other, its) for other, its in best],
        }


def _text(token: int, its: Any) -> str:
    """Return the text of a token, or its number where the engine gives none."""
    text = its.decoded_token
    return f"token_id:{token}" if text is None else str(text)


def _number(its: Any) -> float:
    """Return a log probability that JSON has; the engine's may be minus infinity."""
    return max(float(its.logprob), -9999.0)
