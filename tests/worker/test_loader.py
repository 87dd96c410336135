"""All ways to name and find a handler, and what is said when there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tserve_worker._control import LoadRequest, failure_code, user_frame
from tserve_worker._loader import load_model

FUNCTION = """
SEEN = []
def handle(data, context):
    SEEN.append(data)
    return None if data is None else ["handle"] * len(data)
def infer(data, context):
    return None if data is None else ["infer"] * len(data)
"""

CLASS = """
from collections import OrderedDict
class Service:
    def __init__(self):
        self.events = ["init"]
    def initialize(self, context):
        self.events.append("initialize:" + context.model_name)
    def handle(self, data, context):
        return [self.events] * len(data)
"""


@pytest.mark.parametrize("handler", ["my.py", "my", "some/dir/my.py", "my.py:handle"])
def test_function_of_a_module(serve: Callable[..., Any], handler: str) -> None:
    served = serve(handler, {"my.py": FUNCTION})
    assert served.ask("x").bodies == [b"handle"]
    seen = served.model.entry_point.__globals__["SEEN"]
    assert seen == [None, [{"body": "x"}]], "the module is told to initialise with data=None"


@pytest.mark.parametrize("handler", ["my:infer", "my.py:infer", "some/dir/my.py:infer"])
def test_named_function_among_any_number_of_classes(
    serve: Callable[..., Any], handler: str
) -> None:
    files = {"my.py": FUNCTION + "class A: pass\nclass B: pass\n"}
    assert serve(handler, files).ask("x").bodies == [b"infer"]


def test_handler_in_a_directory_of_the_archive(serve: Callable[..., Any]) -> None:
    served = serve("some/dir/my.py:infer", {"some/dir/my.py": FUNCTION})
    assert served.ask("x").bodies == [b"infer"]


@pytest.mark.parametrize("handler", ["my.py", "my", "my.py:missing"])
def test_only_class_of_a_module(serve: Callable[..., Any], handler: str) -> None:
    served = serve(handler, {"my.py": CLASS})
    assert served.body("x") == ["init", "initialize:m"]


def test_function_wins_over_classes(serve: Callable[..., Any]) -> None:
    assert serve("my.py", {"my.py": CLASS + FUNCTION}).ask("x").bodies == [b"handle"]


def test_service_object_that_a_module_initialises_itself(serve: Callable[..., Any]) -> None:
    code = """
class Service:
    initialized = False
    def initialize(self, context):
        self.initialized = True
    def inference(self, data):
        return ["served"] * len(data)
_service = Service()
def handle(data, context):
    if not _service.initialized:
        _service.initialize(context)
    if data is None:
        return None
    return _service.inference(data)
"""
    assert serve("my_service.py", {"my_service.py": code}).ask("x", "y").bodies == [b"served"] * 2


def test_callable_attribute_is_a_handle(serve: Callable[..., Any]) -> None:
    code = """
class Service:
    def __init__(self):
        self.handle = lambda data, context: ["attribute"] * len(data)
    def initialize(self, context):
        pass
"""
    assert serve("my.py", {"my.py": code}).ask("x").bodies == [b"attribute"]


@pytest.mark.parametrize(
    "code",
    ["", "x = 1", CLASS + "class Two: pass\n", CLASS + "import enum\nclass E(enum.Enum): A=1"],
)
def test_module_must_have_exactly_one_class(serve: Callable[..., Any], code: str) -> None:
    with pytest.raises(ValueError, match="Expected only one class in custom service code"):
        serve("my.py", {"my.py": code})


def test_class_must_have_handle(serve: Callable[..., Any]) -> None:
    code = "class A:\n    def initialize(self, context): pass\n"
    with pytest.raises(ValueError, match="no method 'handle'"):
        serve("my.py", {"my.py": code})


def test_class_must_have_initialize(serve: Callable[..., Any]) -> None:
    with pytest.raises(AttributeError, match="initialize"):
        serve("my.py", {"my.py": "class A:\n    def handle(self, data, context): pass\n"})


def test_missing_module_is_named_with_the_packaged_handlers(serve: Callable[..., Any]) -> None:
    with pytest.raises(ImportError, match=r"no module named 'absent'.*base_handler"):
        serve("absent.py", {})


def test_no_handler_at_all_says_what_to_do(serve: Callable[..., Any]) -> None:
    with pytest.raises(ImportError, match="names no handler; hint"):
        serve(None, {})


def test_import_error_inside_the_handler_is_not_masked(serve: Callable[..., Any]) -> None:
    with pytest.raises(ModuleNotFoundError, match="surely_absent") as caught:
        serve("my.py", {"my.py": "import os\nimport surely_absent\n"})
    model_dir = os.getcwd()
    assert user_frame(caught.value, model_dir) == (os.path.join(model_dir, "my.py"), 2)


def test_name_that_the_handler_cannot_import_is_not_masked(serve: Callable[..., Any]) -> None:
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        serve("my.py", {"my.py": "from os import nothing\n"})


def test_syntax_error_has_file_and_line(serve: Callable[..., Any]) -> None:
    with pytest.raises(SyntaxError) as caught:
        serve("my.py", {"my.py": "x = 1\ndef handle(:\n"})
    assert user_frame(caught.value, os.getcwd()) == (os.path.join(os.getcwd(), "my.py"), 2)


def test_packaged_handler_gives_way_to_a_module_of_its_name(serve: Callable[..., Any]) -> None:
    served = serve("base_handler", {"base_handler.py": FUNCTION})
    assert served.ask("x").bodies == [b"handle"]


def test_module_called_like_a_loaded_one_is_still_found(serve: Callable[..., Any]) -> None:
    before = sys.modules["json"]
    assert serve("json.py", {"json.py": FUNCTION}).ask("x").bodies == [b"handle"]
    assert sys.modules["json"] is before


def test_modules_and_files_beside_the_handler(serve: Callable[..., Any]) -> None:
    code = """
import json, os
import helper
def handle(data, context):
    if data is None:
        return None
    with open("./settings.json") as file:
        answer = json.load(file)["answer"]
    return [[helper.shout("hi"), answer, os.path.exists("sub/deeper.txt")]]
"""
    served = serve(
        "extras.py",
        {
            "extras.py": code,
            "helper.py": "def shout(word): return word.upper()\n",
            "settings.json": '{"answer": 42}',
            "sub/deeper.txt": "",
        },
    )
    assert served.body("x") == ["HI", 42, True]


def test_bytecode_is_not_left_in_the_model_directory(serve: Callable[..., Any]) -> None:
    serve("my.py", {"my.py": FUNCTION})
    assert sorted(os.listdir()) == ["MAR-INF", "my.py"]


def test_context_knows_the_model(serve: Callable[..., Any]) -> None:
    served = serve(
        "my.py",
        {"my.py": FUNCTION, "model-config.yaml": "batchSize: 3\nhandler: {words: [a]}\n"},
        manifest={"handler": "my.py", "configFile": "model-config.yaml"},
        gpu_id=2,
        batch_size=3,
    )
    context = served.context
    assert context.manifest["model"]["configFile"] == "model-config.yaml"
    assert context.model_yaml_config == {"batchSize": 3, "handler": {"words": ["a"]}}
    assert context.system_properties["gpu_id"] == 2
    assert context.system_properties["batch_size"] == 3
    assert os.path.samefile(context.system_properties["model_dir"], os.getcwd())


def test_archive_without_manifest_or_configuration(archive: Callable[..., Path]) -> None:
    directory = archive({"bare.py": FUNCTION})
    os.chdir(directory)
    sys.path.insert(0, str(directory))
    model = load_model(LoadRequest("m", str(directory), handler="bare"))
    assert model.context.manifest is None
    assert model.context.model_yaml_config == {}


def test_empty_configuration_is_none(serve: Callable[..., Any]) -> None:
    served = serve(
        "my.py",
        {"my.py": FUNCTION, "c.yaml": ""},
        manifest={"handler": "my.py", "configFile": "c.yaml"},
    )
    assert served.context.model_yaml_config is None


def test_nothing_of_a_request_exists_while_the_model_loads(serve: Callable[..., Any]) -> None:
    code = """
class Service:
    def initialize(self, context):
        self.seen = [context.request_ids, context.request_processor, context.stopping_criteria,
                     hasattr(context, "cl_socket"), type(context.metrics.request_ids).__name__]
        try:
            context.get_request_header(0, "x")
        except TypeError:
            self.seen.append("TypeError")
    def handle(self, data, context):
        return [self.seen]
"""
    assert serve("my.py", {"my.py": code}).body("x") == [
        None,
        None,
        None,
        False,
        "str",
        "TypeError",
    ]


def test_envelope_wraps_requests_but_not_initialisation(serve: Callable[..., Any]) -> None:
    code = "def handle(data, context):\n    return None if data is None else [data]\n"
    served = serve("my.py", {"my.py": code}, envelope="body")
    assert served.body({"body": "x"}) == ["x"]


def test_unknown_envelope_fails(serve: Callable[..., Any]) -> None:
    with pytest.raises(ImportError, match="no request envelope named 'paper'"):
        serve("my.py", {"my.py": FUNCTION}, envelope="paper")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("CUDA out of memory"), 507),
        (MemoryError("none left"), 507),
        (RuntimeError("broken"), 500),
        (ValueError("CUDA"), 500),
        (SystemExit(3), 500),
    ],
)
def test_status_of_a_failed_load(error: BaseException, code: int) -> None:
    assert failure_code(error) == code
