"""Tensors as bodies, in the format of torch.save; TorchScript under a handler that is a subclass."""

import io
from pathlib import Path

from harness.gallery import Case, form, raw


def build(folder: Path) -> None:
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Softmax(dim=-1)).save(str(folder / "softmax.pt"))


def tensor(*values: float) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(torch.tensor(values), buffer)
    return buffer.getvalue()


def numbers(body: bytes) -> object:
    import torch

    loaded = torch.load(io.BytesIO(body), weights_only=True)
    return loaded.dtype, loaded.shape, loaded.tolist()


def send(*values: float, **more: object):
    """Packs the tensor when the test runs, so that collecting it needs no torch."""

    def step(server, model):
        return raw(tensor(*values), read=numbers, **more)(server, model)

    return step


def send_form(server, model):
    part = ("data", "t.pt", "application/octet-stream", tensor(4.0, 5.0))
    return form(part, read=numbers)(server, model)


CASE = Case(
    serialized_file="softmax.pt",
    build=build,
    steps=[
        send(1.0, 2.0, 3.0),
        send(0.5),
        send(1, 2, status=503),
        send_form,
        raw(b"no tensor", status=503),
    ],
)
