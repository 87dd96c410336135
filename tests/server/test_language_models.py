"""The handlers of language models behind a real server, on stand-ins for the foreign engines.

vLLM and TensorRT-LLM need a GPU and gigabytes. `tests/stand_ins` has the calls of them that the
handlers make; everything of tserve's own is real.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from harness.client import Answer
from harness.processes import wait_until
from harness.server import Server
from harness.streams import Stream

STAND_INS = Path(__file__).resolve().parents[1] / "stand_ins"
ASYNCHRONOUS = {"minWorkers": 1, "batchSize": 1, "asyncCommunication": "true"}

HANDLER = {
    "model_path": "some/model",
    "vllm_engine_config": {"served_model_name": ["big", "llm"], "max_model_len": 100},
    "adapters": {"poems": "vllm/lora", "far": "org/far"},
}


def model(section: dict[str, Any], name: str = "llm", **more: Any) -> dict[str, Any]:
    """An archive with the stand-ins, and what its configuration says; JSON is YAML."""
    settings = {**ASYNCHRONOUS, "handler": json.dumps(section)}
    archive = {"name": name, "handler": "vllm_handler", "extra_files": [STAND_INS]}
    return {**archive, "settings": settings, **more}


ARCHIVES = [
    model(HANDLER),
    model({"vllm_engine_config": {"model": "m"}, "chat_template": "{{ own }}"}, "templated"),
]


def ask(server: Server, path: str, body: dict[str, Any], name: str = "llm") -> Answer:
    return server.predict_json(f"{name}/1.0/v1/{path}", body)


def complete(server: Server, **body: Any) -> dict[str, Any]:
    answer = ask(server, "completions", body)
    assert answer.status == 200, answer.body
    value: dict[str, Any] = json.loads(answer.body)
    return value


def events(server: Server, path: str, body: dict[str, Any]) -> list[Any]:
    """The parts of a streamed answer; the last one is the text [DONE]."""
    with Stream(server.port, f"/predictions/llm/1.0/v1/{path}", {**body, "stream": True}) as stream:
        status, headers = stream.head()
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        parts = []
        for chunk in stream.chunks():
            text = chunk.decode()
            assert text.startswith("data: ")
            assert text.endswith("\n\n")
            parts.append(text[6:-2])
    return [json.loads(part) for part in parts[:-1]] + [parts[-1]]


def test_completion(shared_server: Server) -> None:
    answer = ask(shared_server, "completions", {"model": "llm", "prompt": "a b", "max_tokens": 3})
    assert answer.headers["content-type"] == "application/json"
    value = json.loads(answer.body)
    assert value.pop("id").startswith("cmpl-")
    assert value.pop("created") > 0
    assert value == {
        "object": "text_completion",
        "model": "llm",
        "choices": [
            {
                "index": 0,
                "text": " one two three",
                "logprobs": None,
                "finish_reason": "length",
                "stop_reason": None,
            }
        ],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    }


def test_several_prompts_with_several_choices(shared_server: Server) -> None:
    value = complete(shared_server, prompt=["a", "b c"], n=2, max_tokens=1, echo=True)
    choices = [(choice["index"], choice["text"]) for choice in value["choices"]]
    assert choices == [(0, "a one"), (1, "a one"), (2, "b c one"), (3, "b c one")]
    assert value["usage"]["prompt_tokens"] == 3
    assert value["usage"]["completion_tokens"] == 4


def test_body_without_content_type_is_read_too(shared_server: Server) -> None:
    body = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    answer = shared_server.predict("llm/1.0/v1/completions", body, {"Content-Type": "text/plain"})
    assert json.loads(answer.body)["choices"][0]["text"] == " one"


def test_completion_with_log_probabilities(shared_server: Server) -> None:
    value = complete(shared_server, prompt="a", max_tokens=2, logprobs=1)
    assert value["choices"][0]["logprobs"] == {
        "tokens": [" one", " two"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{" one": -0.5, " other": -9999.0}, {" two": -0.5, " other": -9999.0}],
        "text_offset": [0, 4],
    }


def test_streamed_completion(shared_server: Server) -> None:
    body = {"prompt": "a", "max_tokens": 2, "stream_options": {"include_usage": True}}
    *parts, usage, done = events(shared_server, "completions", body)
    assert [part["choices"][0]["text"] for part in parts] == [" one", " two"]
    assert [part["choices"][0]["finish_reason"] for part in parts] == [None, "length"]
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert done == "[DONE]"


def test_chat(shared_server: Server) -> None:
    parts = [{"type": "text", "text": "you"}, {"type": "text", "text": "there"}]
    messages = [{"role": "system", "content": "hi"}, {"role": "user", "content": parts}]
    body = {"messages": messages, "logprobs": True, "top_logprobs": 1, "max_tokens": 1}
    value = json.loads(ask(shared_server, "chat/completions", body).body)
    assert (value["object"], value["model"]) == ("chat.completion", "big")
    (choice,) = value["choices"]
    assert choice["message"] == {"role": "assistant", "content": " one"}
    (place,) = choice["logprobs"]["content"]
    assert (place["token"], place["bytes"]) == (" one", list(b" one"))
    assert [top["token"] for top in place["top_logprobs"]] == [" one"]
    # <system> hi <user> you there <assistant>
    assert value["usage"]["prompt_tokens"] == 6


def test_chat_without_a_limit_ends_by_itself(shared_server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    (choice,) = json.loads(ask(shared_server, "chat/completions", body).body)["choices"]
    assert choice["message"]["content"].endswith(" nine ten")
    assert choice["finish_reason"] == "stop"


def test_streamed_chat(shared_server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    *parts, done = events(shared_server, "chat/completions", body)
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}
    deltas = [part["choices"][0]["delta"] for part in parts]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": " one"},
        {"content": " two"},
    ]
    assert done == "[DONE]"


def test_own_chat_template(shared_server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    value = json.loads(ask(shared_server, "chat/completions", body, "templated").body)
    # {{ own }} <user> hi <assistant>
    assert value["usage"]["prompt_tokens"] == 6
    assert value["model"] == "m"


def test_models_and_adapters(shared_server: Server) -> None:
    answer = shared_server.get("/predictions/llm/1.0/v1/models")
    assert answer.headers["content-type"] == "application/json"
    value = json.loads(answer.body)
    assert value["object"] == "list"
    listed = {entry["id"]: (entry["root"], entry["parent"]) for entry in value["data"]}
    assert listed == {
        "big": ("some/model", None),
        "llm": ("some/model", None),
        "poems": ("poems", "big"),
        "far": ("far", "big"),
    }


def test_adapter_is_asked_for_by_name(shared_server: Server) -> None:
    near = complete(shared_server, model="poems", prompt="a", max_tokens=1)["choices"][0]["text"]
    assert near.startswith(" poems@/")
    assert near.endswith("/vllm/lora")
    far = complete(shared_server, model="far", prompt="a", max_tokens=1)["choices"][0]["text"]
    assert far == " far@org/far"


@pytest.mark.parametrize(
    ("path", "body", "status", "message", "param"),
    [
        ("completions", {}, 400, "has to be a JSON object", None),
        ("completions", {"prompt": 1}, 400, "prompt has to be a text", "prompt"),
        ("completions", {"prompt": "a", "n": "2"}, 400, "n has to be an integer", "n"),
        ("completions", {"prompt": "a", "model": "x"}, 404, "`x` does not exist", "model"),
        ("completions", {"prompt": "a", "temperature": -1}, 400, "must be non-negative", None),
        ("completions", {"prompt": "refuse"}, 400, "longer than the model's context", None),
        ("completions", {"prompt": "refuse", "stream": True}, 400, "longer than", None),
        ("chat/completions", {"prompt": "a"}, 400, "messages has to be a list", "messages"),
        ("chat/completions", {"messages": [{"role": "x"}]}, 400, "unknown role x", "messages"),
        (
            "chat/completions",
            {"messages": [{"role": "user"}], "tools": [{}]},
            400,
            "tools",
            "tools",
        ),
    ],
)
def test_what_is_wrong_is_told_as_openai_does(
    shared_server: Server, path: str, body: dict[str, Any], status: int, message: str, param: Any
) -> None:
    answer = ask(shared_server, path, body)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    error = json.loads(answer.body)["error"]
    assert message in error["message"]
    assert (error["code"], error["param"]) == (status, param)


def test_body_that_is_no_json(shared_server: Server) -> None:
    headers = {"Content-Type": "application/json"}
    answer = shared_server.predict("llm/1.0/v1/completions", b"{", headers)
    assert answer.status == 400
    assert "not JSON" in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize("path", ["llm", "llm/1.0", "llm/1.0/v1/embeddings"])
def test_unknown_endpoint(shared_server: Server, path: str) -> None:
    answer = shared_server.predict_json(path, {"prompt": "a"})
    assert answer.status == 404
    assert "Unknown API endpoint" in answer.message()


def test_failure_of_the_engine(shared_server: Server) -> None:
    assert ask(shared_server, "completions", {"prompt": "fail"}).status == 503
    *parts, failure, done = events(shared_server, "completions", {"prompt": "fail"})
    assert [part["choices"][0]["text"] for part in parts] == [" one", " two"]
    assert failure["error"]["message"] == "the engine has failed"
    assert done == "[DONE]"


@pytest.mark.parametrize("streams", [True, False])
def test_client_that_leaves_stops_the_engine(start_server, tmp_path: Path, streams: bool) -> None:
    engine = {"model": "m", "download_dir": str(tmp_path)}
    server = start_server(model({"vllm_engine_config": engine}))
    body = {"prompt": "slow", "stream": streams}
    with Stream(server.port, "/predictions/llm/1.0/v1/completions", body) as stream:
        if streams:
            stream.head()
        else:
            stream.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                stream.head()
    wait_until((tmp_path / "aborted").exists, 10, "the engine is told")
    assert json.loads(ask(server, "completions", {"prompt": "a"}).body)["choices"]


def test_worker_of_a_dead_engine_is_replaced(start_server) -> None:
    server = start_server(model({"model_path": "m"}))
    (before,) = server.worker_pids("llm")
    assert ask(server, "completions", {"prompt": "die"}).status == 500
    wait_until(lambda: before not in server.worker_pids("llm"), 15, "its worker ends")
    server.wait_until_loaded("llm")
    assert json.loads(ask(server, "completions", {"prompt": "a"}).body)["choices"]


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (model({"model_path": "m"}, extra_files=[]), "No module named 'vllm'; hint: pip install"),
        (model({}), "no model; hint: model_path"),
        (model({"vllm_engine_config": {"model": "m", "max_seqs": 1}}), "hint: max_num_seqs?"),
        (model({"model_path": "m", "chat_template": "no.jinja"}), "neither a template nor a file"),
        (
            model({"engine_dir": "m"}, handler="trt_llm_handler", extra_files=[]),
            "No module named 'tensorrt_llm'; hint: pip install",
        ),
    ],
)
def test_what_keeps_a_model_from_loading_is_told(
    start_server, archive: dict[str, Any], message: str
) -> None:
    absent = re.match(r"No module named '(\w+)'", message)
    if absent and importlib.util.find_spec(absent[1]):
        pytest.skip(f"{absent[1]} is installed")
    server = start_server(archive, models=[])
    answer = server.manage("POST", "/models?url=llm.mar&initial_workers=1&synchronous=true")
    assert answer.status == 500
    wait_until(lambda: message in server.log_file("model_log.log"), 10, "the log says why")


def test_tensorrt_llm(start_server, tmp_path: Path) -> None:
    handler = {
        "engine_dir": str(tmp_path),
        "kv_cache_config": {"free_gpu_memory_fraction": 0.1},
        "trt_llm_engine_config": {"max_batch_size": 4},
    }
    server = start_server(model(handler, handler="trt_llm_handler"))
    whole = server.predict_json("llm", {"prompt": "a b c", "max_tokens": 2})
    assert (whole.status, whole.text) == (200, " a b")
    with Stream(server.port, "/predictions/llm", {"prompt": "a b", "streaming": True}) as stream:
        stream.head()
        assert [json.loads(part) for part in stream.chunks()] == [{"text": " a"}, {"text": " b"}]
    for wrong in ({"streaming": True}, {"prompt": "a", "heat": 1}):
        assert server.predict_json("llm", wrong).status == 400
    body = {"prompt": "slow " * 200, "max_tokens": 200, "streaming": True}
    with Stream(server.port, "/predictions/llm", body) as stream:
        stream.head()
    wait_until((tmp_path / "aborted").exists, 10, "the engine is told")
