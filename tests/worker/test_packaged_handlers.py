"""The packaged picture and text handlers, with real tiny models."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

# torch warns of what users of TorchServe have in their archives.
pytestmark = pytest.mark.filterwarnings("ignore")

needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed"
)
needs_captum = pytest.mark.skipif(
    importlib.util.find_spec("captum") is None, reason="captum is not installed"
)

NAMES = json.dumps({str(index): name for index, name in enumerate("abcdef")})


class Colours(torch.nn.Module):
    """Six scores from the mean of each colour."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 6)
        with torch.no_grad():
            self.fc.weight.copy_(torch.linspace(-1, 1, 18).reshape(6, 3))
            self.fc.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean(dim=[2, 3]))


class Halves(torch.nn.Module):
    """Two classes by the brightness of a pixel."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        brightness = x.mean(dim=1, keepdim=True)
        return {"out": torch.cat([brightness, -brightness], dim=1)}


DETECTOR = """
import torch
class Detector(torch.nn.Module):
    def forward(self, x):
        one = {"boxes": torch.tensor([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]),
               "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.5, 0.25])}
        return [one] * x.shape[0]
"""

TEXT = """
import torch
class TinyText(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.EmbeddingBag(6, 4, mode="mean")
        self.fc = torch.nn.Linear(4, 2)
    def forward(self, tokens, offsets=None):
        return self.fc(self.embedding(tokens, offsets))
"""

WORDS = ["good", "film", "do", "not", "good film", "do not"]


def scripted(module: Any) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module.eval()), buffer)
    return buffer.getvalue()


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def picture(color: tuple[int, int, int], size: int = 256) -> bytearray:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), color).save(buffer, "PNG")
    return bytearray(buffer.getvalue())


@pytest.fixture
def packaged(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Serve a packaged handler with TorchScript, or other files."""

    def load(handler: str, module: Any = None, files: Any = None, **manifest: Any) -> Any:
        if module is not None:
            files = {"model.pt": scripted(module), **(files or {})}
            manifest["serializedFile"] = "model.pt"
        return serve(handler, files, manifest={"handler": handler, **manifest})

    return load


@needs_torchvision
def test_image_classifier(packaged: Callable[..., Any]) -> None:
    served = packaged("image_classifier", Colours(), {"index_to_name.json": NAMES})
    red = picture((255, 0, 0))
    rows = [{"body": red}, {"data": red}, {"data": base64.b64encode(red).decode()}]
    answers = [json.loads(body) for body in served.ask(*rows).bodies]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 5
    values = list(answers[0].values())
    assert values == sorted(values, reverse=True)
    assert set(answers[0]) < set("abcdef")


@needs_torchvision
def test_image_classifier_takes_numbers_and_other_numbers_of_classes(
    packaged: Callable[..., Any],
) -> None:
    served = packaged("image_classifier", Colours())
    handler = served.model.entry_point.__self__
    handler.set_max_result_classes(2)
    assert handler.get_max_result_classes() == 2
    assert len(served.body(torch.ones(3, 2, 2).tolist())) == 2
    handler.set_max_result_classes(7)
    assert served.ask(picture((0, 0, 0))).failure == (503, "Prediction failed")


@needs_torchvision
def test_what_is_no_picture_fails(packaged: Callable[..., Any]) -> None:
    served = packaged("image_classifier", Colours())
    assert served.ask(bytearray(b"zzz")).failure == (503, "Prediction failed")


@needs_torchvision
def test_limit_of_pixels(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    options = {
        "files": {"model.pt": scripted(Colours())},
        "manifest": {"handler": "image_classifier", "serializedFile": "model.pt"},
    }
    served = serve("image_classifier", **options)
    assert served.ask(picture((0, 0, 0))).failure == (503, "Prediction failed")
    served = serve("image_classifier", **options, limit_max_image_pixels=False)
    assert len(served.body(picture((0, 0, 0)))) == 5


@needs_torchvision
@needs_captum
def test_picture_is_explained(packaged: Callable[..., Any]) -> None:
    served = packaged("image_classifier", Colours())
    shape = torch.tensor(served.body(picture((255, 0, 0)), explain="True")).shape
    assert shape == (3, 224, 224)


@needs_torchvision
def test_image_segmenter(packaged: Callable[..., Any]) -> None:
    served = packaged("image_segmenter", Halves())
    answer = torch.tensor(served.body(picture((255, 255, 255))))
    assert answer.shape == (224, 224, 2)
    assert answer[0, 0, 0] == 0.0
    assert 0.5 < answer[0, 0, 1] <= 1.0


@needs_torchvision
def test_object_detector(packaged: Callable[..., Any]) -> None:
    served = packaged(
        "object_detector",
        files={"detector.py": DETECTOR, "index_to_name.json": '{"1": "cat", "2": "dog"}'},
        modelFile="detector.py",
    )
    rows = [{"body": picture((0, 0, 0), 8)}] * 2
    wanted = [{"cat": [0.0, 1.0, 2.0, 3.0], "score": 0.5}]
    assert [json.loads(body) for body in served.ask(*rows).bodies] == [wanted, wanted]


@pytest.fixture
def classifier(packaged: Callable[..., Any]) -> Any:
    """The text classifier with six tokens."""
    return packaged(
        "text_classifier",
        files={
            "text.py": TEXT,
            "source_vocab.pt": saved({word: index for index, word in enumerate(WORDS)}),
            "index_to_name.json": '{"0": "Negative", "1": "Positive"}',
        },
        modelFile="text.py",
    )


def test_text_classifier(classifier: Any) -> None:
    answers = [
        classifier.body(text)
        for text in (bytearray(b"<b>Good</b> film!"), "good film", "g\u00f2od FILM")
    ]
    assert answers[0] == answers[1] == answers[2]
    assert set(answers[0]) == {"Negative", "Positive"}
    assert sum(answers[0].values()) == pytest.approx(1.0)
    assert classifier.body("Don't") == classifier.body("do not")


def test_text_classifier_answers_one_request_with_known_words(classifier: Any) -> None:
    mismatch = (503, "number of batch response mismatched")
    assert classifier.ask("good", "film").failure == mismatch
    assert classifier.ask("unheard").failure == (503, "Prediction failed")


@needs_captum
def test_text_is_explained(classifier: Any) -> None:
    answer = classifier.body({"data": "good film", "target": 1}, explain="True")
    assert answer["words"] == ["good", "film"]
    assert [len(row) for row in answer["importances"]] == [4]


def test_text_classifier_needs_its_vocabulary(packaged: Callable[..., Any]) -> None:
    with pytest.raises(FileNotFoundError, match="source_vocab"):
        packaged("text_classifier", files={"text.py": TEXT}, modelFile="text.py")


@needs_torchvision
@needs_captum
def test_class_to_explain_may_be_text(packaged: Callable[..., Any]) -> None:
    served = packaged("image_classifier", Colours())
    body = torch.ones(3, 2, 2).tolist()
    answers = [
        served.body({"data": body, "target": target}, explain="True")
        for target in (3, "3", bytearray(b"3"))
    ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0] != served.body({"data": body}, explain="True")
    asked = served.ask({"data": body, "target": "three"}, headers=[{"explain": "True"}])
    assert asked.failure == (503, "Prediction failed")


@needs_torchvision
@needs_captum
def test_captum_is_loaded_when_it_is_needed(packaged: Callable[..., Any]) -> None:
    handler = packaged("image_classifier", Colours()).model.entry_point.__self__
    assert "ig" not in vars(handler)
    assert type(handler.ig).__name__ == "IntegratedGradients"
    handler.ig = "another"
    assert handler.ig == "another"


def test_cleaning_of_texts(classifier: Any) -> None:
    handler = classifier.model.entry_point.__self__
    for text, wanted in {
        "I can't've known": "I cannotve known",
        "Sha'n't we?": "Shall not we?",
        "so's they'll see": "so as they will see",
        "CAN'T": "Cannot",
        "O'Hara's": "OHaras",
    }.items():
        assert handler._expand_contractions(text) == wanted
    assert handler._remove_puncutation("a.b!") == "ab"
    handler._remove_punctuation = str.upper
    assert handler._remove_puncutation("a.b!") == "A.B!"
    assert handler.get_word_token(["\u0120good", "film"]) == ["good", "film"]


def test_densenet_handler(packaged: Callable[..., Any]) -> None:
    served = packaged("densenet_handler", torch.nn.Softmax(dim=1))
    values = torch.tensor([[1.0, 2.0], [3.0, 3.0]])
    (body,) = served.ask(bytearray(saved(values[0]))).bodies
    assert torch.equal(torch.load(io.BytesIO(body)), values[:1].softmax(1))
    # One answer for a batch, however large.
    rows = [bytearray(saved(row)) for row in values]
    assert served.ask(*rows).failure == (503, "number of batch response mismatched")


def test_densenet_handler_with_a_model_file(packaged: Callable[..., Any]) -> None:
    code = "import torch\nclass Net(torch.nn.Linear):\n    def __init__(self):\n"
    code += "        super().__init__(2, 2)\n"
    served = packaged(
        "densenet_handler",
        files={"net.py": code, "net.pth": saved(torch.nn.Linear(2, 2).state_dict())},
        modelFile="net.py",
        serializedFile="net.pth",
    )
    assert len(served.ask(bytearray(saved(torch.ones(2)))).bodies) == 1


DALI = """
class Pipeline:
    def __init__(self, **options):
        self.options = options
    @classmethod
    def deserialize(cls, **options):
        return cls(**options)
    def run(self, source):
        return (Pictures(source),)
class Pictures:
    def __init__(self, files):
        self.files = files
    def __len__(self):
        return len(self.files)
    def at(self, index):
        mean = self.files[index].astype("float32").mean()
        return [[[float(mean)]], [[1.0]], [[0.0]]]
"""


def test_dali_image_classifier(packaged: Callable[..., Any]) -> None:
    """DALI itself needs a GPU: a module in its place takes the calls."""
    settings = "{batch_size: 2, num_threads: 1, device_id: 0, seed: 7, pipeline_file: p.dali}"
    files = {
        "nvidia/dali/__init__.py": "",
        "nvidia/dali/pipeline.py": DALI,
        "p.dali": b"",
        "config.yaml": f"dali: {settings}\n",
    }
    # Where parts of nvidia's packages are installed, theirs would be found before ours.
    import sys

    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name == "nvidia"}
    try:
        served = packaged("dali_image_classifier", Colours(), files, configFile="config.yaml")
        handler = served.model.entry_point.__self__
        assert handler.pipeline.options["batch_size"] == 2
        assert handler.pipeline.options["filename"].endswith("/p.dali")
        handler.set_max_result_classes(2)
        answers = [json.loads(body) for body in served.ask(bytearray(b"ab"), b"zz").bodies]
        assert [len(answer) for answer in answers] == [2, 2]
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "nvidia"]:
            del sys.modules[name]
        sys.modules.update(kept)


def test_dali_handlers_say_what_they_lack(packaged: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="has no dali config"):
        packaged("dali_image_classifier", Colours())
    settings = "dali: {batch_size: 2, num_threads: 1, device_id: 0, seed: 7}\n"
    with pytest.raises(ModuleNotFoundError, match="pip install nvidia-dali-cuda"):
        packaged(
            "dali_image_classifier",
            Colours(),
            {"config.yaml": settings},
            configFile="config.yaml",
        )
