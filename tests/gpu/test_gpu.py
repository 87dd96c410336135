"""Workers on a real GPU: placement, isolation, groups; run `pytest -m gpu tests/gpu`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.server import Server

torch = pytest.importorskip("torch")

GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(GPUS == 0, reason="torch finds no CUDA device on this machine"),
]


def ask(server: Server) -> dict[str, Any]:
    answer = server.predict_json("on_device", [1, 0, 0, 1], timeout=60)
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    assert found["product"] == [3.0, 11.0, 19.0, 27.0]
    return found


def start(start_server, settings: dict[str, object], **options: Any) -> Server:
    given = {"minWorkers": 1, **settings}
    server: Server = start_server({"name": "on_device", "settings": given}, ready=False, **options)
    server.wait_until_serving(120)
    return server


def test_worker_computes_on_its_gpu(start_server) -> None:
    server = start(start_server, {})
    found = ask(server)
    assert found["device"].startswith("cuda:")
    assert found["seen"] == GPUS
    assert [worker["gpu"] for worker in server.workers("on_device")] == [True]


def test_isolated_worker_sees_one_gpu(start_server) -> None:
    found = ask(
        start(start_server, {"deviceIds": f"[{GPUS - 1}]"}, config={"isolate_gpus": "true"})
    )
    assert (found["device"], found["seen"]) == ("cuda:0", 1)
    assert found["visible"] == str(GPUS - 1)


def test_custom_group_sees_its_block(start_server) -> None:
    found = ask(start(start_server, {"parallelType": "custom", "parallelLevel": 1}))
    assert (found["device"], found["seen"]) == ("cuda:0", 1)


def test_gpu_worker_is_no_fork(start_server) -> None:
    server = start(start_server, {"workerTemplate": "imports"})
    assert ask(server)["device"].startswith("cuda:")
    assert "template is ready" not in server.log()
