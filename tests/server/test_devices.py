"""Workers are spread over the GPUs that the server may use; without one they get the CPU."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.server import Server


def devices(server: Server, model: str, workers: int) -> list[int | None]:
    """The devices of all workers of a model, asked for until every worker has answered."""
    assert len(server.workers(model)) == workers
    seen: set[int | None] = set()
    with ThreadPoolExecutor(8) as clients:
        for answer in clients.map(lambda _: server.predict(model), range(64)):
            seen.add(json.loads(answer.body)["gpu_id"])
    return sorted(seen, key=str)


def test_no_gpu_means_cpu(start_server) -> None:
    server = start_server("device", environment={"CUDA_VISIBLE_DEVICES": ""})
    assert devices(server, "device", 1) == [None]
    assert [worker["gpu"] for worker in server.workers("device")] == [False]
    assert server.describe("device")["deviceType"] == "cpu"


def test_workers_take_turns_on_the_visible_gpus(start_server) -> None:
    server = start_server(
        {"name": "device", "settings": {"minWorkers": 4}},
        environment={"CUDA_VISIBLE_DEVICES": "0,1"},
    )
    assert devices(server, "device", 4) == [0, 1]
    assert [worker["gpu"] for worker in server.workers("device")] == [True] * 4


def test_number_of_gpu_bounds_what_is_used(start_server) -> None:
    server = start_server(
        {"name": "device", "settings": {"minWorkers": 3}},
        config={"number_of_gpu": 1},
        environment={"CUDA_VISIBLE_DEVICES": "0,1,2"},
    )
    assert devices(server, "device", 3) == [0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"deviceType": "cpu"}, [None]), ({"deviceIds": "[2, 0]"}, [0, 2])],
    ids=["cpu", "chosen ids"],
)
def test_a_model_may_choose(start_server, settings, expected) -> None:
    server = start_server(
        {"name": "device", "settings": {"minWorkers": 2, **settings}},
        environment={"CUDA_VISIBLE_DEVICES": "0,1,2"},
    )
    assert devices(server, "device", 2) == expected
