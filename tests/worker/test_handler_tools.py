"""``ts.utils`` and ``ts.handler_utils``: tools that handlers import."""

from __future__ import annotations

import re
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tserve_worker.handler_utils.micro_batching import MicroBatching
from tserve_worker.handler_utils.text_utils import get_tokenizer, ngrams_iterator
from tserve_worker.handler_utils.timer import timed
from tserve_worker.handler_utils.utils import import_class
from tserve_worker.testing import MockContext
from tserve_worker.utils.util import (
    CLEANUP_REGEX,
    PredictionException,
    PT2Backend,
    check_valid_pt2_backend,
    deprecated,
    get_yaml_config,
    list_classes_from_module,
    load_label_mapping,
    map_class_to_label,
)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('{"0": "cat", "1": "dog"}', {"0": "cat", "1": "dog"}),
        ('{"0": ["n02124075", "Egyptian_cat"]}', {"0": "Egyptian_cat"}),
        ('{"object_type_names": ["cat", "dog"]}', {"0": "cat", "1": "dog"}),
    ],
)
def test_label_files(tmp_path: Path, text: str, labels: dict[str, str]) -> None:
    file = tmp_path / "index_to_name.json"
    file.write_text(text)
    assert load_label_mapping(str(file)) == labels


@pytest.mark.parametrize("text", ["[]", '"x"', '{"0": 1}', '{"0": []}', '{"0": [1]}'])
def test_wrong_label_files(tmp_path: Path, text: str) -> None:
    file = tmp_path / "index_to_name.json"
    file.write_text(text)
    with pytest.raises(TypeError):
        load_label_mapping(file)


def test_missing_label_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load_label_mapping(tmp_path / "index_to_name.json") is None
    assert "will not include class names" in caplog.text


def test_classes_to_labels() -> None:
    probs = [[0.7, 0.3], [0.6, 0.4]]
    mapping = {"0": "cat", "1": "dog"}
    assert map_class_to_label(probs) == [{"0": 0.7, "1": 0.3}, {"0": 0.6, "1": 0.4}]
    assert map_class_to_label(probs, mapping) == [
        {"cat": 0.7, "dog": 0.3},
        {"cat": 0.6, "dog": 0.4},
    ]
    assert map_class_to_label(probs, mapping, [[1, 0], [0, 1]])[0] == {"dog": 0.7, "cat": 0.3}
    assert map_class_to_label([[0.7, 0.3]], {"0": "x", "1": "x"}) == [{"x": 0.3}]
    with pytest.raises(KeyError):
        map_class_to_label(probs, {"0": "cat"})
    with pytest.raises(TypeError):
        map_class_to_label({}, mapping)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        map_class_to_label(probs, ["cat"])  # type: ignore[arg-type]


def test_classes_of_a_module() -> None:
    module = types.ModuleType("some_module")
    exec("class B: pass\nclass A(B): pass\nfrom pathlib import Path\nx = 1", module.__dict__)
    assert [found.__name__ for found in list_classes_from_module(module)] == ["A", "B"]
    assert [found.__name__ for found in list_classes_from_module(module, module.A)] == ["A"]


def test_yaml_files(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("a: [1]\n")
    assert get_yaml_config(str(file)) == {"a": [1]}
    file.write_text("")
    assert get_yaml_config(file) is None


def test_backends(caplog: pytest.LogCaptureFixture) -> None:
    assert all(check_valid_pt2_backend(member.value) for member in PT2Backend)
    assert len(PT2Backend) == 14
    assert not check_valid_pt2_backend("cudagraphs")
    assert "cudagraphs is not a supported backend" in caplog.text


def test_cleanup() -> None:
    assert CLEANUP_REGEX.sub("", "<b>a</b>&amp;b&#1234;c&#x1f;d") == "abcd"


def test_prediction_exception() -> None:
    assert str(PredictionException("no", 404)) == "no : 404"
    assert PredictionException("no").error_code == 500
    assert PredictionException("no").message == "no"


def test_deprecated() -> None:
    @deprecated("1.0", "other")
    def old(value: int) -> int:
        """Return the value."""
        return value

    with pytest.warns(PendingDeprecationWarning, match=re.escape("old() is deprecated")):
        assert old(3) == 3
    assert old.__doc__ == "Return the value."


def test_import_class() -> None:
    assert import_class("pathlib.Path") is Path
    assert import_class("Path", "pathlib") is Path
    assert import_class("metrics.dimension.Dimension", "tserve_worker").__name__ == "Dimension"
    for name in ("", "Path", "pathlib."):
        with pytest.raises(ImportError):
            import_class(name)
    with pytest.raises(ImportError, match="no class 'Absent'"):
        import_class("pathlib.Absent")


def test_tokenizers() -> None:
    split = get_tokenizer(None)
    assert split is not None
    assert split("You can't.") == ["You", "can't."]
    english = get_tokenizer("basic_english")
    assert english is not None
    assert english("You can't, now!") == ["you", "can", "'", "t", ",", "now", "!"]
    assert get_tokenizer("spacy") is None
    with pytest.raises(ValueError, match="only available for English"):
        get_tokenizer("basic_english", "de")


def test_ngrams() -> None:
    assert list(ngrams_iterator(["a", "b", "c"], 2)) == ["a", "b", "c", "a b", "b c"]
    assert list(ngrams_iterator(["a", "b", "c"], 3))[-1] == "a b c"
    assert list(ngrams_iterator(["a"], 2)) == ["a"]


def test_mock_context(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("handler: {profile: true}\n")
    context = MockContext("m.pt", str(tmp_path), "m.py", model_yaml_config_file="c.yaml")
    assert context.manifest["model"] == {
        "serializedFile": "m.pt",
        "modelFile": "m.py",
    }
    assert context.system_properties["model_dir"] == str(tmp_path)
    assert context.model_yaml_config == {"handler": {"profile": True}}
    context.metrics.add_time("HandlerTime", 1)
    assert context.get_request_header(1, "explain") is False
    context.explain = True
    assert context.get_request_header(1, "explain") is True
    assert context.get_request_header(0, "explain") is False


class Timed:
    def __init__(self, context: Any) -> None:
        self.context = context

    @timed
    def work(self, value: int) -> int:
        return value


@pytest.mark.parametrize("config", [None, {}, {"handler": None}, {"handler": {"profile": False}}])
def test_timed_costs_nothing_unless_asked_for(config: Any) -> None:
    context = types.SimpleNamespace(model_yaml_config=config)
    assert Timed(context).work(1) == 1
    assert Timed(None).work(1) == 1
    assert Timed.work.__name__ == "work"


class Steps:
    """A handler of the three steps, without torch."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, Any]] = []
        self.broken = ""
        self.lock = threading.Lock()
        self.handle = MicroBatching(self, micro_batch_size=2)

    def note(self, step: str, rows: Any) -> None:
        with self.lock:
            self.seen.append((step, self.handle.get_micro_batch_idx() or 0, list(rows)))
        if self.broken == step:
            raise ValueError(f"{step} is broken")

    def preprocess(self, data: Any) -> Any:
        # Later slices are faster, so that order is not kept by chance.
        time.sleep(0.02 / (1 + (self.handle.get_micro_batch_idx() or 0)))
        self.note("preprocess", data)
        return data

    def inference(self, data: Any) -> Any:
        self.note("inference", data)
        return [value * 2 for value in data]

    def postprocess(self, data: Any) -> Any:
        self.note("postprocess", data)
        return data


def test_micro_batches_keep_their_order() -> None:
    handler = Steps()
    assert handler.handle.get_micro_batch_idx() is None
    assert handler.handle.handle([1, 2, 3, 4, 5]) == [2, 4, 6, 8, 10]
    assert [rows for step, _, rows in handler.seen if step == "preprocess"] == [[1, 2], [3, 4], [5]]
    assert {index for _, index, _ in handler.seen} == {0, 1, 2}
    handler.handle.parallelism = {"preprocess": 3}
    assert handler.handle.parallelism == {"preprocess": 3, "inference": 1, "postprocess": 1}
    handler.handle.micro_batch_size = 1
    assert handler.handle.handle(list(range(20))) == [value * 2 for value in range(20)]
    assert handler.handle.handle([]) == []


@pytest.mark.parametrize("step", ["preprocess", "inference", "postprocess"])
def test_micro_batches_raise_what_a_step_raises(step: str) -> None:
    handler = Steps()
    handler.broken = step
    with pytest.raises(ValueError, match=f"{step} is broken"):
        handler.handle.handle([1, 2, 3])
    handler.broken = ""
    assert handler.handle.handle([1]) == [2]


def test_nothing_of_a_failed_batch_runs_on() -> None:
    handler = Steps()
    handler.handle.micro_batch_size = 1
    handler.broken = "inference"
    with pytest.raises(ValueError, match="inference is broken"):
        handler.handle.handle(list(range(50)))
    seen = len(handler.seen)
    assert seen < 50, "the others are skipped"
    handler.broken = ""
    assert handler.handle.handle([7]) == [14]
    assert len(handler.seen) == seen + 3


@pytest.mark.parametrize("parallelism", [{"train": 1}, {"inference": 0}])
def test_micro_batches_check_their_parallelism(parallelism: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        Steps().handle.parallelism = parallelism


def test_micro_batching_stands_in_for_handle(serve: Callable[..., Any]) -> None:
    pytest.importorskip("torch")
    code = """
from ts.handler_utils.micro_batching import MicroBatching
from ts.torch_handler.base_handler import BaseHandler
class Sliced(BaseHandler):
    def __init__(self):
        self.handle = MicroBatching(self)
    def initialize(self, context):
        config = context.model_yaml_config["micro_batching"]
        self.handle.micro_batch_size = config["micro_batch_size"]
        self.handle.parallelism = config["parallelism"]
    def preprocess(self, data):
        return [row["body"] for row in data]
    def inference(self, data):
        return [value * 10 for value in data]
    def postprocess(self, data):
        return data
    def describe_handle(self):
        return {"about": "slices"}
"""
    served = serve(
        "sliced.py",
        {
            "sliced.py": code,
            "c.yaml": "micro_batching: {micro_batch_size: 2, parallelism: {inference: 2}}\n",
        },
        manifest={"handler": "sliced.py", "configFile": "c.yaml"},
    )
    assert served.ask(1, 2, 3).bodies == [b"10", b"20", b"30"]
    assert served.body(1, describe="True") == {"about": "slices"}


STREAMER = """
from ts.handler_utils.utils import send_intermediate_predict_response
def handle(data, context):
    if data is None:
        return None
    for index in range(2):
        send_intermediate_predict_response(
            ["part%d" % index] * len(data), context.request_ids, "part", 200, context
        )
    if data[0]["body"] == "fail":
        raise ValueError("stream broke")
    return ["end"] * len(data)
"""


def test_chunks_are_sent_before_the_result(serve: Callable[..., Any]) -> None:
    batch = serve("s.py", {"s.py": STREAMER}).ask("x", "y")
    assert [reply["last"] for reply in batch.replies] == [False, False, True]
    assert [[item[0] for item in reply["items"]] for reply in batch.replies] == [
        [b"part0", b"part0"],
        [b"part1", b"part1"],
        [b"end", b"end"],
    ]
    headers = [reply["items"][0][3] for reply in batch.replies]
    assert [header["ts_stream_next"] for header in headers] == ["true", "true", "false"]


def test_stream_that_breaks_ends_with_an_error(serve: Callable[..., Any]) -> None:
    batch = serve("s.py", {"s.py": STREAMER}).ask("fail")
    assert [reply["code"] for reply in batch.replies] == [200, 200, 503]


def test_stream_without_clients_stops_the_handler(serve: Callable[..., Any]) -> None:
    served = serve("s.py", {"s.py": STREAMER})
    batch = served.ask("x", wanted_parts=1)
    assert [reply["last"] for reply in batch.replies] == [False, True]
    assert batch.replies[1]["items"] is None
    assert served.ask("x").replies[2]["items"][0][0] == b"end"


CHOOSER = """
from ts.handler_utils.utils import send_intermediate_predict_response
def handle(data, context):
    if data is None:
        return None
    ids = context.request_ids
    send_intermediate_predict_response({1: "one"}, {1: ids[1]}, "", 200, context)
    send_intermediate_predict_response(["two"], {0: ids[2]}, "", 200, context)
    if data[0]["body"] == "fail":
        send_intermediate_predict_response({}, ids, "no more", 507, context)
    if data[0]["body"] == "stranger":
        send_intermediate_predict_response(["?"], {0: "another id"}, "", 200, context)
    return ["end"] * len(data)
"""


def test_chunks_may_be_for_some_requests_only(serve: Callable[..., Any]) -> None:
    batch = serve("s.py", {"s.py": CHOOSER}).ask("x", "y", "z")
    bodies = [[item and item[0] for item in reply["items"]] for reply in batch.replies]
    assert bodies == [[None, b"one", None], [None, None, b"two"], [b"end"] * 3]
    headers = [item[3] for item in batch.replies[2]["items"]]
    assert [it.get("ts_stream_next") for it in headers] == [None, "false", "false"]


def test_chunk_with_an_error_fails_the_batch_and_leaves_it_to_end(
    serve: Callable[..., Any],
) -> None:
    batch = serve("s.py", {"s.py": CHOOSER}).ask("fail", "y", "z")
    assert [(it["code"], it["last"]) for it in batch.replies[2:]] == [(507, False), (200, True)]


def test_chunk_for_a_stranger_fails_the_batch(serve: Callable[..., Any]) -> None:
    batch = serve("s.py", {"s.py": CHOOSER}).ask("stranger", "y", "z")
    assert [reply["code"] for reply in batch.replies] == [200, 200, 503]


def test_only_the_first_rank_sends_chunks(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert serve("s.py", {"s.py": STREAMER}).ask("x").bodies == [b"end"]


@pytest.mark.parametrize(
    ("criteria", "headers"),
    [
        ([lambda item: True, lambda item: False], ["false", "true"]),
        ({0: lambda item: None, 1: lambda item: item == "b"}, [None, "false"]),
        ([lambda item: True], ["false", None]),
    ],
)
def test_stopping_criteria(serve: Callable[..., Any], criteria: Any, headers: list[Any]) -> None:
    code = "def handle(data, context):\n    return data and [row['body'] for row in data]\n"
    served = serve("c.py", {"c.py": code})
    served.context.stopping_criteria = criteria
    items = served.ask("a", "b").answer["items"]
    assert [item[3].get("ts_stream_next") for item in items] == headers


def test_deprecated_name_of_streaming(serve: Callable[..., Any]) -> None:
    code = STREAMER.replace("ts.handler_utils.utils", "ts.protocol.otf_message_handler")
    served = serve("s.py", {"s.py": code})
    with pytest.warns(PendingDeprecationWarning, match="is deprecated"):
        batch = served.ask("x")
    assert len(batch.replies) == 3
