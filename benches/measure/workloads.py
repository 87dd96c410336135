"""The workloads: what is sent, what is right, and the archives that serve it."""

from __future__ import annotations

import array
import json
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BENCHES = Path(__file__).resolve().parents[1]
HANDLERS = BENCHES / "handlers"
MAX_BATCH = 32
BATCH_DELAY_MS = 2
ROWS = COLUMNS = 512


@dataclass(frozen=True)
class Workload:
    """One kind of request and how it is served."""

    name: str
    title: str
    handler: str
    body: str
    content_type: str
    batch_size: int
    connections: tuple[int, ...]
    # One thread of the load generator sends 200,000 small requests a second, but copies only
    # 4,000 large ones into sockets: less than the fastest servers take.
    load_threads: int = 1


RAW = "application/octet-stream"
JSON = "application/json"
ALL = (
    Workload("noop", "no-op: 1 KiB in, `ok` out, batch 1", "noop.py", "noop.bin", RAW, 1, (1, 64)),
    Workload(
        "noopb",
        f"no-op batched: the same, up to {MAX_BATCH}, delay {BATCH_DELAY_MS} ms",
        *("noop.py", "noop.bin", RAW, MAX_BATCH, (64,)),
    ),
    Workload(
        "mlp",
        f"MLP 784-512-10 from a JSON list, up to {MAX_BATCH}, delay {BATCH_DELAY_MS} ms",
        *("mlp.py", "mlp.json", JSON, MAX_BATCH, (64,)),
    ),
    Workload(
        "tensor",
        "tensor: 1 MiB float32 in, 512 row means out, batch 1",
        *("tensor.py", "tensor.bin", RAW, 1, (1, 16, 64), 2),
    ),
)
# Only in an open loop.
DEVICE = Workload(
    "device",
    f"a handler that waits for its device, 5 ms per batch of up to {MAX_BATCH}",
    *("device.py", "noop.bin", RAW, MAX_BATCH, (64,)),
)
BY_NAME = {workload.name: workload for workload in (*ALL, DEVICE)}


class Prepared:
    """A folder with bodies, weights and archives; made anew when their sources changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        stamp = folder / ".made"
        sources = [*HANDLERS.glob("*.py"), Path(__file__)]
        newest = max(source.stat().st_mtime for source in sources)
        if not stamp.exists() or stamp.stat().st_mtime < newest:
            shutil.rmtree(folder, ignore_errors=True)
            self.store.mkdir(parents=True)
            stamp.touch()

    def body(self, workload: Workload) -> Path:
        """The file with the body of every request."""
        file = self.folder / workload.body
        if not file.exists():
            {"noop.bin": _noop, "mlp.json": _mlp, "tensor.bin": _tensor}[workload.body](self.folder)
        return file

    def archive(self, workload: Workload) -> Path:
        """The .mar file; the same one for every server that reads archives."""
        self.body(workload)
        extra = self.folder / "mlp.pt" if workload.name == "mlp" else None
        settings = {"batchSize": workload.batch_size, "maxBatchDelay": BATCH_DELAY_MS}
        return pack(self.folder, workload.name, workload.handler, settings, extra)

    def is_right(self, workload: Workload, body: bytes) -> bool:
        """Whether an answer in the handlers' own form is right."""
        if workload.name == "mlp":
            return bool(json.loads(body)["argmax"] == self.argmax())
        if workload.name == "tensor":
            return self.are_means(body)
        return body == b"ok"

    def argmax(self) -> int:
        """The right answer to the MLP's body."""
        return int(json.loads((self.folder / "mlp.expected.json").read_text()))

    def are_means(self, body: bytes) -> bool:
        """Whether an answer ends with the tensor's row means."""
        expected = array.array("f", (self.folder / "tensor.expected.bin").read_bytes())
        found = array.array("f", body[-4 * ROWS :])
        pairs = zip(expected, found, strict=True)
        return len(found) == ROWS and all(abs(one - other) < 1e-4 for one, other in pairs)


def pack(
    folder: Path, name: str, handler: str, settings: dict[str, int], extra: Path | None = None
) -> Path:
    """Packs an archive with one worker into `folder`'s store, unless it is there."""
    archive = folder / "store" / f"{name}.mar"
    if archive.exists():
        return archive
    config = folder / f"{name}.model-config.yaml"
    everything = {"minWorkers": 1, "maxWorkers": 1, "responseTimeout": 60, **settings}
    config.write_text("".join(f"{key}: {value}\n" for key, value in everything.items()))
    words = [
        *(sys.executable, "-m", "archiver", "--model-name", name, "--version", "1.0"),
        *("--handler", str(HANDLERS / handler), "--config-file", str(config)),
        *("--export-path", str(archive.parent)),
        *(("--extra-files", str(extra)) if extra else ()),
    ]
    subprocess.run(words, check=True, timeout=60, stdout=subprocess.DEVNULL)
    return archive


def _noop(folder: Path) -> None:
    (folder / "noop.bin").write_bytes(random.Random(0).randbytes(1024))


def _mlp(folder: Path) -> None:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    torch.save(net.state_dict(), folder / "mlp.pt")
    generator = random.Random(0)
    pixels = [round(generator.random(), 6) for _ in range(784)]
    with torch.inference_mode():
        best = int(net(torch.tensor([pixels])).argmax(dim=1)[0])
    (folder / "mlp.expected.json").write_text(str(best))
    # Triton's protocol wants the same numbers in an envelope.
    tensor = {"name": "x", "shape": [1, 784], "datatype": "FP32", "data": pixels}
    (folder / "mlp.v2.json").write_text(json.dumps({"inputs": [tensor]}))
    (folder / "mlp.json").write_text(json.dumps(pixels))


def _tensor(folder: Path) -> None:
    import numpy

    values = numpy.random.default_rng(0).random((ROWS, COLUMNS), dtype=numpy.float32)
    (folder / "tensor.expected.bin").write_bytes(values.mean(axis=1).tobytes())
    (folder / "tensor.bin").write_bytes(values.tobytes())
