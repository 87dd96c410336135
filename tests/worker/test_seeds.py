"""Handlers that users printed in their notes run as they are.

A print may leave out its imports and its model; those, and packages that are not installed, come
from the test as files beside the handler.
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.client import multipart, request

torch = pytest.importorskip("torch")
numpy = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

# torch warns of what users of TorchServe have in their archives.
pytestmark = pytest.mark.filterwarnings("ignore")

SEEDS = Path(__file__).parent / "seeds"

OPENCV = """
import io
import numpy
from PIL import Image
IMREAD_COLOR = 1
def imdecode(buffer, flags):
    rgb = numpy.asarray(Image.open(io.BytesIO(buffer.tobytes())).convert("RGB"))
    return rgb[:, :, ::-1]
"""

FAISS = """
import numpy
class Index:
    def __init__(self, vectors):
        self.vectors = vectors
    def search(self, queries, k):
        distances = ((queries[:, None, :] - self.vectors[None]) ** 2).sum(axis=2)
        indexes = numpy.argsort(distances, axis=1)[:, :k]
        return numpy.take_along_axis(distances, indexes, axis=1), indexes
def read_index(path):
    return Index(numpy.load(path, allow_pickle=False))
"""

TORCHVISION = {"torchvision/__init__.py": "", "torchvision/transforms.py": ""}


def seed(name: str) -> str:
    return (SEEDS / f"{name}.txt").read_text(encoding="utf-8")


def stand_ins(**modules: str) -> dict[str, str]:
    """Files for the packages that are not installed here."""
    missing = {name: code for name, code in modules.items() if not importlib.util.find_spec(name)}
    files = {f"{name}.py": code for name, code in missing.items()}
    return files if importlib.util.find_spec("torchvision") else {**files, **TORCHVISION}


def picture(color: Any, size: int, mode: str = "RGB") -> bytearray:
    buffer = io.BytesIO()
    Image.new(mode, (size, size), color).save(buffer, "PNG")
    return bytearray(buffer.getvalue())


def script(module: Any) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module), buffer)
    return buffer.getvalue()


def test_multi_image_handler(serve: Callable[..., Any]) -> None:
    model = """
import torch
class Brightest(torch.nn.Module):
    def forward(self, x):
        self.seen = [float(x[0, channel].max()) for channel in range(3)]
        return x.mean(dim=(2, 3))
"""
    served = serve(
        "custom_handler.py",
        {
            "custom_handler.py": seed("multi_image"),
            "brightest.py": model,
            **stand_ins(cv2=OPENCV),
        },
        manifest={"handler": "custom_handler.py", "modelFile": "brightest.py"},
    )
    parts = {"img1": picture((255, 51, 0), 640), "img2": picture(0, 640)}
    assert served.ask(parts).bodies == [b"ok"]
    handler = served.model.entry_point.__self__
    assert handler.model.seen == pytest.approx([1.0, 0.2, 0.0])
    assert served.ask({"other": b"no picture"}).bodies == [b"ok"]
    assert handler.model.seen == [0.0, 0.0, 0.0]


class Embed(torch.nn.Module):
    """The mean brightness of each half of a picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[3] // 2
        return torch.stack(
            [x[:, 0, :, :half].mean(dim=(1, 2)), x[:, 0, :, half:].mean(dim=(1, 2))], dim=1
        )


def test_nearest_neighbour_handler(serve: Callable[..., Any]) -> None:
    index = io.BytesIO()
    numpy.save(index, numpy.array([[0.0, 0.0], [200.0, 200.0], [0.0, 200.0]], dtype="float32"))
    served = serve(
        "handler.py",
        {
            "handler.py": seed("nearest_neighbour_handler"),
            "MyHandler.py": seed("nearest_neighbour_class"),
            "faiss_index.bin": index.getvalue(),
            "faiss_label.json": json.dumps(["dark", "bright", "right"]),
            "model.pt": script(Embed()),
            **stand_ins(faiss=FAISS),
        },
        manifest={"handler": "handler.py", "serializedFile": "model.pt"},
        batch_size=2,
    )
    rows = {"data": picture(190, 4, "L")}, {"body": picture(3, 4, "L")}
    answers = [json.loads(body) for body in served.ask(*rows).bodies]
    assert [answer["pred"] for answer in answers] == ["bright", "dark"]
    assert answers[0]["dist"] == pytest.approx(200.0)


MODULE_FUNCTION = """
args = "x"
def model(kind):
    return lambda data: [kind + row["body"] for row in data]
""" + seed("module_function")


def test_function_at_module_level(serve: Callable[..., Any]) -> None:
    files = {"model_handler.py": MODULE_FUNCTION}
    served = serve("model_handler:entry_point_function", files)
    assert served.ask("a", "b").bodies == [b"xa", b"xb"]


LEFT_OUT = "import torch\nfrom ts.torch_handler.base_handler import BaseHandler\n"


def test_handler_that_chooses_its_device(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    files = {"device.py": LEFT_OUT + seed("device_choosing")}
    served = serve("device.py", files)
    assert served.model.entry_point.__self__.device == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    served = serve("device.py", files, gpu_id=1)
    assert served.model.entry_point.__self__.device == torch.device("cuda:1")


@pytest.mark.gpu
def test_handler_that_chooses_its_device_on_a_gpu(serve: Callable[..., Any]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    served = serve("device.py", {"device.py": LEFT_OUT + seed("device_choosing")}, gpu_id=0)
    device = served.model.entry_point.__self__.device
    assert torch.ones(1, device=device).device == torch.device("cuda:0")


def test_seeds_over_rest(start_server: Any, tmp_path: Path) -> None:
    """The same handlers, packed, served by the real server and asked over HTTP."""
    pytest.importorskip("torchvision")
    index = io.BytesIO()
    numpy.save(index, numpy.array([[0.0, 0.0], [200.0, 200.0]], dtype="float32"))
    files: dict[str, str | bytes] = {
        "custom_handler.py": seed("multi_image"),
        "handler.py": seed("nearest_neighbour_handler"),
        "MyHandler.py": seed("nearest_neighbour_class"),
        "faiss_index.bin": index.getvalue(),
        "faiss_label.json": json.dumps(["dark", "bright"]),
        "model.pt": script(Embed()),
        "model_handler.py": MODULE_FUNCTION,
        **stand_ins(cv2=OPENCV, faiss=FAISS),
    }
    for name, content in files.items():
        file = tmp_path / "files" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    beside = tmp_path / "files"

    def archive(name: str, handler: str, *extra: str, **options: Any) -> dict[str, Any]:
        more = [beside / one for one in extra]
        return {"name": name, "handler": str(beside / handler), "extra_files": more, **options}

    nearest = "MyHandler.py", "faiss_index.bin", "faiss_label.json"
    weights = {"serialized_file": beside / "model.pt"}
    server = start_server(
        archive("images", "custom_handler.py", *stand_ins(cv2=OPENCV), **weights),
        archive("nearest", "handler.py", *nearest, *stand_ins(faiss=FAISS), **weights),
        archive("function", "model_handler.py:entry_point_function"),
    )
    bright = bytes(picture(200, 4, "L"))
    body, kind = multipart([("img1", "a.png", "image/png", bytes(picture(1, 640)))])
    for model, sent, content_type, wanted in (
        ("images", body, kind, "ok"),
        ("nearest", bright, "image/png", {"dist": 0.0, "pred": "bright"}),
        ("function", b"a", "text/plain", "xa"),
    ):
        path = f"/predictions/{model}"
        answer = request(server.port, "POST", path, sent, {"Content-Type": content_type})
        assert answer.status == 200, answer
        assert (answer.text if isinstance(wanted, str) else answer.json()) == wanted
