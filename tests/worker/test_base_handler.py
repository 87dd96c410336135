"""``BaseHandler``: every kind of model file, every step, with real tiny models."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tserve_worker.handlers import _compile, _model_files  # noqa: E402

# torch warns of what users of TorchServe have in their archives.
pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = """
import torch
class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
    def forward(self, x):
        return self.fc(x)
"""

HANDLER = """
import json
import torch
from ts.torch_handler.base_handler import BaseHandler
class LinearHandler(BaseHandler):
    def preprocess(self, data):
        rows = [row.get("data") or row.get("body") for row in data]
        return torch.tensor(rows, dtype=torch.float32, device=self.device)
    def get_insights(self, tensor, raw, target=0):
        return [{"target": target, "shape": list(tensor.shape), "raw": raw}]
    def describe_handle(self):
        return {"describes": "linear"}
"""


class Linear(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


WANTED = [-3.8, 5.4]
"""What the model makes of [1, 2, 3]."""


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def weights() -> bytes:
    return saved(Linear().state_dict())


@pytest.fixture(scope="module")
def scripted() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Linear().eval()), buffer)
    return buffer.getvalue()


@pytest.fixture
def linear(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Serve the handler above with some files and a manifest."""

    def load(files: dict[str, Any], config: str | None = None, **manifest: Any) -> Any:
        files = {"linear.py": HANDLER, **files}
        if config is not None:
            files["model-config.yaml"] = config
            manifest["configFile"] = "model-config.yaml"
        return serve("linear.py", files, manifest={"handler": "linear.py", **manifest})

    return load


def handler_of(served: Any) -> Any:
    return served.model.entry_point.__self__


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin"])
def test_eager_model(linear: Callable[..., Any], weights: bytes, name: str) -> None:
    served = linear(
        {"model.py": MODEL, name: weights, "index_to_name.json": '{"0": "zero", "1": "one"}'},
        modelFile="model.py",
        serializedFile=name,
    )
    assert served.body([1, 2, 3]) == pytest.approx(WANTED)
    handler = handler_of(served)
    assert handler.mapping == {"0": "zero", "1": "one"}
    assert handler.initialized is True
    assert handler.map_location == "cpu"
    assert handler.get_device() == torch.device("cpu")
    assert not handler.model.training
    assert handler.model_pt_path.endswith(name)
    assert handler.manifest is served.context.manifest


def test_eager_model_without_weights(linear: Callable[..., Any]) -> None:
    served = linear({"model.py": MODEL}, modelFile="model.py")
    assert len(served.body([1, 2, 3])) == 2
    assert handler_of(served).mapping is None


def test_torchscript(linear: Callable[..., Any], scripted: bytes) -> None:
    served = linear({"model.pt": scripted}, serializedFile="model.pt")
    batch = served.ask([1, 2, 3], [0, 0, 0])
    answers = [json.loads(body) for body in batch.bodies]
    assert answers[0] == pytest.approx(WANTED)
    assert answers[1] == pytest.approx([-1.0, 1.0])


@pytest.mark.parametrize(
    ("files", "manifest", "message"),
    [
        ({}, {}, "neither a model file nor weights"),
        ({}, {"serializedFile": "m.pt"}, r"Missing the model\.pt file"),
        ({}, {"modelFile": "model.py"}, r"Missing the model\.py file"),
        (
            {"m.pth": b""},
            {"serializedFile": "m.pth"},
            "No model weights could be loaded.*--model-f",
        ),
        (
            {"m.so": b""},
            {"serializedFile": "m.so"},
            "No model weights could be loaded.*aot_compile",
        ),
        ({"m.pt2": b""}, {"serializedFile": "m.pt2"}, "No model weights could be loaded"),
        ({"m.safetensors": b""}, {"serializedFile": "m.safetensors"}, "No model weights"),
        ({"m.pt": b"nonsense"}, {"serializedFile": "m.pt"}, "PytorchStreamReader"),
    ],
)
def test_model_that_cannot_be_loaded(
    linear: Callable[..., Any], files: dict[str, Any], manifest: dict[str, str], message: str
) -> None:
    with pytest.raises(RuntimeError, match=f"(?s){message}"):
        linear(files, **manifest)


def test_plain_weights_are_no_torchscript(linear: Callable[..., Any], weights: bytes) -> None:
    with pytest.raises(RuntimeError):
        linear({"m.pt": weights}, serializedFile="m.pt")


@pytest.mark.parametrize("code", ["", MODEL + "class Two: pass\n"])
def test_model_file_must_have_one_class(linear: Callable[..., Any], code: str) -> None:
    with pytest.raises(ValueError, match="Expected only one class as model definition"):
        linear({"two.py": code}, modelFile="two.py")


def test_weights_that_do_not_fit(linear: Callable[..., Any]) -> None:
    files = {"model.py": MODEL, "w.pth": saved({"other": torch.zeros(1)})}
    with pytest.raises(RuntimeError, match="Error"):
        linear(files, modelFile="model.py", serializedFile="w.pth")


def test_explain_and_describe(linear: Callable[..., Any], scripted: bytes) -> None:
    served = linear({"model.pt": scripted}, serializedFile="model.pt")
    row = {"data": [1, 2, 3], "target": 1}
    assert served.body(row, explain="True") == {"target": 1, "shape": [1, 3], "raw": [1, 2, 3]}
    assert handler_of(served).explain is True
    assert served.body([1, 2, 3], explain="False") == pytest.approx(WANTED)
    assert served.body({}, describe="True") == {"describes": "linear"}


def test_bare_base_handler(serve: Callable[..., Any], scripted: bytes) -> None:
    manifest = {"handler": "base_handler", "serializedFile": "model.pt"}
    served = serve("base_handler", {"model.pt": scripted}, manifest=manifest)
    assert served.ask([1.0, 2.0, 3.0]).failure == (503, "Prediction failed")
    assert served.ask({}, headers=[{"describe": "True"}]).bodies == [b"null"]
    assert served.ask({}, headers=[{"explain": "True"}]).failure == (503, "Prediction failed")
    behind = serve("base_handler", {"model.pt": scripted}, manifest=manifest, envelope="body")
    assert behind.body([1.0, 2.0, 3.0]) == pytest.approx(WANTED)


def test_handle_needs_nothing_that_init_sets(serve: Callable[..., Any]) -> None:
    code = """
from ts.torch_handler.base_handler import BaseHandler
class Own(BaseHandler):
    def __init__(self):
        pass
    def initialize(self, context):
        pass
    def preprocess(self, data):
        return len(data)
    def inference(self, data):
        return data
    def postprocess(self, data):
        return ["own"] * data
"""
    assert serve("own.py", {"own.py": code}).ask("x", "y").bodies == [b"own"] * 2


def test_durations(
    linear: Callable[..., Any], scripted: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    served = linear({"model.pt": scripted}, "handler: {profile: true}\n", serializedFile="model.pt")
    served.body([1, 2, 3])
    found = re.findall(r"\[METRICS\](\w+)\.Milliseconds:[\d.e-]+\|", caplog.text)
    # preprocess is the subclass's own, without the decorator.
    assert found == [
        "ts_handler_inference",
        "ts_handler_postprocess",
        "HandlerTime",
    ]


def test_profiler(
    linear: Callable[..., Any],
    scripted: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    served = linear({"model.pt": scripted}, serializedFile="model.pt")
    finished: list[Any] = []
    handler_of(served).profiler_args = {
        "activities": [torch.profiler.ProfilerActivity.CPU],
        "on_trace_ready": finished.append,
    }
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", "false")
    served.body([1, 2, 3])
    assert not finished
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", "true")
    assert served.body([1, 2, 3]) == pytest.approx(WANTED)
    assert len(finished) == 1
    assert "aten::" in caplog.text


@pytest.mark.parametrize(
    ("pt2", "wanted"),
    [
        ("eager", {"backend": "eager"}),
        ({"backend": "eager", "mode": None}, {"backend": "eager", "mode": None}),
        ({"compile": {"enable": True, "backend": "eager"}}, {"backend": "eager"}),
        ({"compile": {"enable": "yes"}}, {}),
        ({"compile": {"enable": False}}, None),
        ({"compile": {}}, None),
        ({"compile": None}, None),
        ({"export": {"aot_compile": True}}, None),
    ],
)
def test_configuration_of_compile(pt2: Any, wanted: dict[str, Any] | None) -> None:
    before = json.dumps(pt2)
    assert _compile.wants_compile(pt2) is (wanted is not None)
    if wanted is not None:
        assert _compile.compile_arguments(pt2) == wanted
    assert json.dumps(pt2) == before, "the configuration is left as it is"


@pytest.mark.parametrize("pt2", ["null", "5", "[1]"])
def test_wrong_configuration_of_compile(
    linear: Callable[..., Any], scripted: bytes, pt2: str
) -> None:
    with pytest.raises(ValueError, match="pt2 should be"):
        linear({"model.pt": scripted}, f"pt2: {pt2}\n", serializedFile="model.pt")


def test_compiled_model(linear: Callable[..., Any], weights: bytes) -> None:
    served = linear(
        {"model.py": MODEL, "w.pth": weights},
        "pt2: {compile: {enable: true, backend: eager}}\n",
        modelFile="model.py",
        serializedFile="w.pth",
    )
    assert type(handler_of(served).model).__name__ == "OptimizedModule"
    assert served.context.model_yaml_config["pt2"]["compile"]["enable"] is True


@pytest.mark.parametrize("arguments", ["backend: cudagraphs", "backend: eager, nonsense: 1"])
def test_model_stays_eager_when_it_cannot_be_compiled(
    linear: Callable[..., Any], weights: bytes, arguments: str, caplog: pytest.LogCaptureFixture
) -> None:
    served = linear(
        {"model.py": MODEL, "w.pth": weights},
        f"pt2: {{compile: {{enable: true, {arguments}}}}}\n",
        modelFile="model.py",
        serializedFile="w.pth",
    )
    assert type(handler_of(served).model).__name__ == "Linear"
    assert served.body([1, 2, 3]) == pytest.approx(WANTED)
    assert "stays" in caplog.text


@pytest.mark.parametrize(
    ("backend", "package"), [("openvino", "openvino"), ("tensorrt", "torch-tensorrt")]
)
def test_backend_that_is_not_installed(
    linear: Callable[..., Any],
    weights: bytes,
    backend: str,
    package: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    registrar = _compile.REGISTRARS[backend]
    monkeypatch.setitem(sys.modules, registrar.partition(".")[0], None)
    monkeypatch.setitem(sys.modules, registrar, None)
    served = linear(
        {"model.py": MODEL, "w.pth": weights},
        f"pt2: {{compile: {{enable: true, backend: {backend}}}}}\n",
        modelFile="model.py",
        serializedFile="w.pth",
    )
    assert served.body([1, 2, 3]) == pytest.approx(WANTED)
    assert f"stays eager: import of {registrar.partition('.')[0]}" in caplog.text
    assert f"hint: pip install {package}" in caplog.text


def test_extension_of_intel_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("TS_IPEX_ENABLE", raising=False)
    assert not _compile.is_intel_wanted()
    assert not caplog.text
    monkeypatch.setenv("TS_IPEX_ENABLE", "true")
    if importlib.util.find_spec("intel_extension_for_pytorch") is None:
        assert not _compile.is_intel_wanted()
        assert "intel-extension-for-pytorch is not installed" in caplog.text


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = _model_files.choose_device
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose(None, use_xla=False) == ("cpu", torch.device("cpu"))
    assert choose(3, use_xla=False) == ("cpu", torch.device("cpu"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose(3, use_xla=False) == ("mps", torch.device("mps"))
    assert choose(None, use_xla=False)[0] == "cpu"
    monkeypatch.setattr(_model_files, "_has_xpu", lambda: True)
    assert choose(3, use_xla=False)[0] == "mps"
    monkeypatch.setenv("TS_IPEX_GPU_ENABLE", "true")
    assert choose(3, use_xla=False) == ("xpu", torch.device("xpu", 3))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose(3, use_xla=False) == ("cuda", torch.device("cuda", 3))
    monkeypatch.delenv("TS_IPEX_GPU_ENABLE")
    monkeypatch.setitem(sys.modules, "torch_xla", None)
    with pytest.raises(ModuleNotFoundError, match="pip install torch-xla"):
        choose(None, use_xla=True)


def test_tensor_cores_are_for_all_subclasses(monkeypatch: pytest.MonkeyPatch) -> None:
    from tserve_worker.handlers.base_handler import BaseHandler

    class Own(BaseHandler):
        def __init__(self, name: str) -> None:
            self.name = name

    chosen: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Own("one").name == "one"
    assert not chosen
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Own("two").name == "two"
    assert chosen == ["high"]


@pytest.mark.gpu
def test_model_goes_to_the_gpu_of_the_worker(serve: Callable[..., Any], scripted: bytes) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    served = serve(
        "linear.py",
        {"linear.py": HANDLER, "model.pt": scripted},
        manifest={"handler": "linear.py", "serializedFile": "model.pt"},
        gpu_id=0,
    )
    assert served.body([1, 2, 3]) == pytest.approx(WANTED)
    handler = handler_of(served)
    assert handler.device == torch.device("cuda:0")
    assert handler.map_location == "cuda"
    assert next(handler.model.parameters()).device == handler.device
