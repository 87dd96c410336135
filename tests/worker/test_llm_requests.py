"""Bodies of the completions and chat APIs: what is taken, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from tserve_worker.llm.requests import RequestError, read_body, read_chat, read_completion
from tserve_worker.llm.side_by_side import side_by_side

SAID = [{"role": "user", "content": "hi"}]


def test_defaults() -> None:
    completion = read_completion({"prompt": "a"})
    assert (completion.model, completion.streams, completion.choices) == (None, False, 1)
    assert completion.sampling == {"max_tokens": 16}
    chat = read_chat({"messages": SAID})
    assert chat.sampling == {"max_tokens": None}
    assert chat.template_arguments == {"add_generation_prompt": True}


def test_parameters_go_on_by_their_name() -> None:
    body = {
        **{"temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 1, "n": 2, "ignore_eos": True},
        **{"stop": "end", "stop_token_ids": [1], "logit_bias": {"7": -1}, "max_tokens": 5},
        **{"user": "u", "something_new": 1, "presence_penalty": None},
    }
    sampling = read_completion({"prompt": "a", **body}).sampling
    assert sampling == {
        **{"temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 1, "n": 2, "ignore_eos": True},
        **{"stop": ["end"], "stop_token_ids": [1], "logit_bias": {7: -1.0}, "max_tokens": 5},
    }


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_forms_of_prompts(prompt: object, prompts: object) -> None:
    assert read_completion({"prompt": prompt}).prompts == prompts


@pytest.mark.parametrize("prompt", [None, 1, [], {}, [None], [[]], [True], [["a"]]])
def test_what_is_no_prompt(prompt: object) -> None:
    with pytest.raises(RequestError, match="prompt has to be") as caught:
        read_completion({"prompt": prompt})
    assert caught.value.param == "prompt"


def test_limits_and_log_probabilities_of_a_chat() -> None:
    body = {"messages": SAID, "max_tokens": 1, "max_completion_tokens": 2, "logprobs": True}
    assert read_chat(body).sampling == {"max_tokens": 2, "logprobs": 0}
    assert read_chat({**body, "top_logprobs": 3}).sampling["logprobs"] == 3


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"stream": 1}, "stream"),
        ({"stream_options": 1}, "stream_options"),
        ({"model": 1}, "model"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"ignore_eos": 1}, "ignore_eos"),
        ({"stop": [1]}, "stop"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{}]}, "tools"),
    ],
)
def test_wrong_parameters_are_named(body: dict[str, Any], param: str) -> None:
    for read, needed in ((read_completion, {"prompt": "a"}), (read_chat, {"messages": SAID})):
        with pytest.raises(RequestError, match=param) as caught:
            read({**needed, **body})
        assert (caught.value.param, caught.value.status) == (param, 400)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"best_of": 2}, "best_of"),
        ({"suffix": "b"}, "suffix"),
        ({"echo": True, "logprobs": 1}, "echo"),
    ],
)
def test_completions_that_are_not_served(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_completion({"prompt": "a", **body})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content",
        ),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"chat_template": "{{ x }}"}, "chat_template"),
        ({"chat_template_kwargs": {"tokenize": False}}, "tokenize"),
        ({"chat_template_kwargs": 1}, "chat_template_kwargs"),
    ],
)
def test_chats_that_are_not_served(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_chat({"messages": SAID, **body})
    assert caught.value.param == param


@pytest.mark.parametrize("row", [{}, {"body": b""}, {"body": b"[1]"}, {"data": b"nonsense"}])
def test_rows_without_an_object(row: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="JSON"):
        read_body(row)


def test_rows_with_one() -> None:
    for value in ({"prompt": "a"}, b'{"prompt": "a"}', '{"prompt": "a"}'):
        assert read_body({"body": value}) == {"prompt": "a"}


async def count(limit: int, closed: list[int], fail: bool = False) -> AsyncIterator[int]:
    try:
        for number in range(limit):
            await asyncio.sleep(0)
            yield number
        if fail:
            raise ValueError("as asked")
    finally:
        closed.append(limit)


def test_generators_side_by_side() -> None:
    async def collect() -> list[tuple[int, int]]:
        return [item async for item in side_by_side([count(2, []), count(3, [])])]

    items = asyncio.run(collect())
    assert [item for item in items if item[0] == 0] == [(0, 0), (0, 1)]
    assert [item for item in items if item[0] == 1] == [(1, 0), (1, 1), (1, 2)]


def test_one_failure_ends_the_others() -> None:
    closed: list[int] = []

    async def collect() -> None:
        async for _ in side_by_side([count(1, closed, fail=True), count(10**9, closed)]):
            pass

    with pytest.raises(ValueError, match="as asked"):
        asyncio.run(collect())
    assert sorted(closed) == [1, 10**9]


def test_leaving_early_closes_all() -> None:
    closed: list[int] = []

    async def leave() -> None:
        async with aclosing(side_by_side([count(10**9, closed), count(10**9, closed)])) as items:
            async for _ in items:
                break

    asyncio.run(leave())
    assert closed == [10**9, 10**9]
