"""Weights in every format: read right, placed right, their pages shared where that can be."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tserve_worker.handlers import _exported, _weights  # noqa: E402

# torch warns of what users of TorchServe have in their archives.
pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = """
import torch
class Wide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(300, 200)
        self.tied = torch.nn.Linear(300, 200, bias=False)
        self.tied.weight = self.fc.weight
        self.view = self.fc.weight.t()
        self.held = [self.fc.weight]
    def forward(self, x):
        return self.fc(x) + self.tied(x) + x @ self.held[0].t()
"""

HANDLER = """
import torch
from ts.torch_handler.base_handler import BaseHandler
class Handler(BaseHandler):
    def preprocess(self, data):
        return torch.tensor([row["body"] for row in data], dtype=torch.float32)
"""

INPUT = [1.0] * 300


def wide_state(dtype: Any = torch.float32) -> dict[str, Any]:
    torch.manual_seed(0)
    weight = torch.randn(200, 300).to(dtype)
    return {"fc.weight": weight, "fc.bias": torch.ones(200, dtype=dtype), "tied.weight": weight}


def wanted(state: dict[str, Any]) -> list[float]:
    rows = torch.tensor([INPUT]) @ state["fc.weight"].float().t()
    return (3 * rows + state["fc.bias"].float())[0].tolist()


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def lies_in(tensor: Any, name: str) -> bool:
    """Whether a tensor's memory is that of a mapped file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, _, last = line.partition(" ")[0].partition("-")
        if int(first, 16) <= tensor.data_ptr() < int(last, 16):
            return line.endswith(name)
    return False


@pytest.fixture
def wide(serve: Callable[..., Any]) -> Callable[[str, bytes], Any]:
    """Serve the model above with weights in a file."""

    def load(name: str, weights: bytes) -> Any:
        return serve(
            "handler.py",
            {"handler.py": HANDLER, "wide.py": MODEL, name: weights},
            manifest={"handler": "handler.py", "modelFile": "wide.py", "serializedFile": name},
        )

    return load


def handler_of(served: Any) -> Any:
    return served.model.entry_point.__self__


def test_weights_live_in_the_file(wide: Callable[..., Any]) -> None:
    state = wide_state()
    served = wide("wide.pth", saved(state))
    assert served.body(INPUT) == pytest.approx(wanted(state), rel=1e-4, abs=1e-3)
    model = handler_of(served).model
    assert lies_in(model.fc.weight, "/wide.pth")
    assert model.tied.weight is model.fc.weight is model.held[0]
    assert torch.equal(model.view, state["fc.weight"].t())
    assert model.fc.weight.requires_grad
    # What is small costs less than a page.
    assert not lies_in(model.fc.bias, "/wide.pth")


def test_mapped_weights_can_be_changed_by_the_worker_alone(
    wide: Callable[..., Any], tmp_path: Path
) -> None:
    before = saved(wide_state())
    served = wide("wide.pth", before)
    with torch.no_grad():
        handler_of(served).model.fc.weight.zero_()
    assert served.body(INPUT) == pytest.approx([1.0] * 200)
    assert (tmp_path / "model" / "wide.pth").read_bytes() == before


def test_weights_of_another_kind_are_converted(wide: Callable[..., Any]) -> None:
    state = wide_state(torch.float16)
    served = wide("wide.pth", saved(state))
    assert served.body(INPUT) == pytest.approx(wanted(state), rel=1e-3, abs=1e-2)
    weight = handler_of(served).model.fc.weight
    assert weight.dtype == torch.float32
    assert not lies_in(weight, "/wide.pth")


def test_weights_in_the_oldest_format(wide: Callable[..., Any]) -> None:
    state = wide_state()
    served = wide("wide.pth", saved(state, _use_new_zipfile_serialization=False))
    assert served.body(INPUT) == pytest.approx(wanted(state), rel=1e-4, abs=1e-3)
    assert not lies_in(handler_of(served).model.fc.weight, "/wide.pth")


def test_what_a_user_may_overwrite_is_not_mapped(tmp_path: Path) -> None:
    folder, link = tmp_path / "own", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    (folder / "w.pth").write_bytes(b"")
    (folder / "linked.pth").symlink_to(folder / "w.pth")
    cpu = torch.device("cpu")
    assert _weights.may_be_mapped(str(folder), str(folder / "w.pth"), cpu)
    assert not _weights.may_be_mapped(str(link), str(link / "w.pth"), cpu)
    assert not _weights.may_be_mapped(str(folder), str(folder / "linked.pth"), cpu)
    assert not _weights.may_be_mapped(str(folder), str(folder / "w.pth"), torch.device("cuda:0"))
    assert not _weights.may_be_mapped(str(folder), str(folder / "w.pth"), None)


def test_only_equal_tensors_are_shared() -> None:
    ours = torch.arange(30_000.0)
    assert _weights.is_shareable(ours, ours.clone())
    for other in (
        ours + 1,
        ours.double(),
        ours.reshape(100, 300),
        ours.reshape(100, 300).t(),
        ours[:10],
        ours.tolist(),
        None,
        ours.to_sparse(),
    ):
        assert not _weights.is_shareable(ours, other)


def test_safetensors(wide: Callable[..., Any]) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = {name: value.clone() for name, value in wide_state().items()}
    served = wide("wide.safetensors", safetensors.save(state))
    assert served.body(INPUT) == pytest.approx(wanted(state), rel=1e-4, abs=1e-3)
    assert lies_in(handler_of(served).model.fc.weight, "/wide.safetensors")


class Doubles(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(x) * 2


def exported() -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = Doubles().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.ones(2, 3),), dynamic_shapes={"x": {0: batch}})
    return model, program


def test_program_of_torch_export(serve: Callable[..., Any], tmp_path: Path) -> None:
    model, program = exported()
    torch.export.save(program, str(tmp_path / "m.pt2"))
    served = serve(
        "handler.py",
        {"handler.py": HANDLER, "m.pt2": (tmp_path / "m.pt2").read_bytes()},
        manifest={"handler": "handler.py", "serializedFile": "m.pt2"},
    )
    rows = [[1.0, 2.0, 3.0], [0.0, 0.0, 1.0], [4.0, 0.0, 0.0]]
    answers = [torch.tensor(eval(body)) for body in served.ask(*rows).bodies]
    assert torch.allclose(torch.stack(answers), model(torch.tensor(rows)), atol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_aotinductor_compiled(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One compilation, as a package and as the shared library that older releases wrote."""
    if not hasattr(torch._inductor, "aoti_compile_and_package"):
        pytest.skip("this torch cannot package what AOTInductor compiles")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    model, program = exported()
    package = tmp_path / "m.pt2"
    try:
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(package),
            inductor_configs={"aot_inductor.compile_wrapper_opt_level": "O0"},
        )
    except Exception as exc:
        pytest.skip(f"cannot compile a model here: {exc}")
    row = [1.0, 2.0, 3.0]
    answer = pytest.approx(model(torch.tensor([row]))[0].tolist(), abs=1e-5)
    served = serve(
        "handler.py",
        {"handler.py": HANDLER, "m.pt2": package.read_bytes()},
        manifest={"handler": "handler.py", "serializedFile": "m.pt2"},
    )
    assert served.body(row) == answer
    with zipfile.ZipFile(package) as file:
        (library,) = [name for name in file.namelist() if name.endswith(".so")]
        content = file.read(library)
    served = serve(
        "handler.py",
        {
            "handler.py": HANDLER,
            "m.so": content,
            "model-config.yaml": "pt2: {export: {aot_compile: true}}\n",
        },
        manifest={
            "handler": "handler.py",
            "serializedFile": "m.so",
            "configFile": "model-config.yaml",
        },
    )
    assert served.body(row) == answer


def test_onnx_model_answers(serve: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, _ = exported()
    path = tmp_path / "m.onnx"
    torch.onnx.export(model, (torch.ones(1, 3),), str(path), external_data=False)
    served = serve(
        "handler.py",
        {"handler.py": HANDLER, "m.onnx": path.read_bytes()},
        manifest={"handler": "handler.py", "serializedFile": "m.onnx"},
    )
    row = [1.0, 2.0, 3.0]
    assert served.body(row) == pytest.approx(model(torch.tensor([row]))[0].tolist(), abs=1e-5)
    assert _exported.is_onnx(handler_of(served).model)


class Session:
    """What of an onnxruntime session is used."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": name}) for name in self.names]

    def run(self, outputs: None, feed: dict[str, Any]) -> list[Any]:
        return [feed[name] * 2 for name in self.names]


@pytest.mark.parametrize("as_mapping", [False, True])
def test_onnx_models_of_several_inputs(as_mapping: bool) -> None:
    one, two = torch.ones(2), torch.zeros(3)
    data = {"b": two, "a": one} if as_mapping else (one, two)
    first, second = _exported.run_onnx(Session("a", "b"), data)
    assert first.tolist() == [2.0, 2.0]
    assert second.shape == (3,)
    assert _exported.run_onnx(Session("a"), one).tolist() == [2.0, 2.0]
    assert not _exported.is_onnx(Session("a"))


def test_model_in_a_folder_of_the_working_directory(wide: Callable[..., Any]) -> None:
    served = wide("wide.bin", saved(wide_state()))
    assert os.path.samefile(os.getcwd(), served.context.system_properties["model_dir"])
    assert lies_in(handler_of(served).model.fc.weight, "/wide.bin")
