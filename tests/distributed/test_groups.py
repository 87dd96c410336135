"""Workers of several processes: what they compute, and that a group lives and dies as one."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from harness.processes import is_alive, kill, wait_until
from harness.server import Server

pytest.importorskip("torch.distributed")

pytestmark = pytest.mark.filterwarnings("ignore")

TENSOR = {
    "minWorkers": 1,
    "maxWorkers": 1,
    "parallelType": "tp",
    "deviceType": "cpu",
    "torchrun": "{nproc-per-node: 2, OMP_NUMBER_THREADS: 2}",
    "handler": "{}",
}


def group(**settings: object) -> dict[str, Any]:
    return {"name": "ranks", "settings": {**TENSOR, **settings}}


def ranks(server: Server) -> list[int]:
    """The processes of the only worker, in order of rank."""
    answer = server.predict_json("ranks", {"who": True})
    assert answer.status == 200, server.log()
    pids: list[int] = json.loads(answer.body)["pids"]
    return pids


def works(server: Server) -> bool:
    answer = server.predict_json("ranks", [1, 2, 3, 4])
    return answer.status == 200 and json.loads(answer.body) == [30.0, 70.0]


def test_tensor_parallel(start_server) -> None:
    server: Server = start_server(group(batchSize=4, maxBatchDelay=20))
    assert works(server)
    with ThreadPoolExecutor(8) as clients:
        bodies = [[n, 0, 0, 1] for n in range(40)]
        answers = clients.map(lambda body: server.predict_json("ranks", body), bodies)
        for n, answer in enumerate(answers):
            assert json.loads(answer.body) == [n + 4.0, 5.0 * n + 8.0]
    seen = json.loads(server.predict_json("ranks", {"who": True}).body)
    assert (seen["WORLD_SIZE"], seen["LOCAL_RANK"], seen["threads"]) == ("2", "0", 2)
    assert len(set(seen["pids"])) == 2
    assert server.worker_pids("ranks") == seen["pids"][:1]
    described = server.describe("ranks")
    assert (described["parallelType"], described["parallelLevel"]) == ("tp", 2)
    log = server.log_file("model_log.log")
    for rank, pid in enumerate(seen["pids"]):
        assert f"rank {rank} of 2 is process {pid}" in log
    # A describe request is for rank 0 alone, as in TorchServe; the group is in step afterwards.
    server.terminate()
    assert server.processes() == []


def test_pipeline_parallel(start_server) -> None:
    server: Server = start_server({"name": "stages", "settings": {**TENSOR, "parallelType": "pp"}})
    for value in (0, 7):
        answer = server.predict("stages", str(value).encode(), {"Content-Type": "text/plain"})
        assert answer.body == str(value * 100 + 12).encode(), server.log()


@pytest.mark.parametrize("victim", [0, 1])
def test_death_of_a_rank_restarts_the_group(start_server, victim: int) -> None:
    server: Server = start_server(group())
    old = ranks(server)
    with ThreadPoolExecutor(1) as client:
        pending = client.submit(server.predict_json, "ranks", {"stall": True})
        stalls = "this rank stalls"
        log = "model_log.log"
        wait_until(lambda: server.log_file(log).count(stalls) == 2, 15, "both ranks are at it")
        kill(old[victim], signal.SIGKILL)
        assert pending.result(20).status in (500, 507)
    wait_until(lambda: not any(map(is_alive, old)), 5, "no process of the group is left")
    server.wait_until_loaded("ranks")
    assert not set(ranks(server)) & set(old)
    assert works(server)


def test_group_that_hangs_is_restarted(start_server) -> None:
    server: Server = start_server(group(responseTimeout=2))
    old = ranks(server)
    assert server.predict_json("ranks", {"stall": True}).status == 500
    wait_until(lambda: not any(map(is_alive, old)), 5, "no process of the group is left")
    server.wait_until_loaded("ranks")
    assert works(server)


def test_no_rank_outlives_a_killed_server(start_server) -> None:
    server: Server = start_server(group())
    assert len(ranks(server)) == 2
    assert server.process is not None
    kill(server.process.pid)
    server.process.wait(timeout=10)
    wait_until(lambda: not server.processes(), 10, "all ranks are gone")


def test_rank_that_does_not_load_is_named(start_server) -> None:
    server: Server = start_server(
        group(handler="{fails_on: 1}", maxRetryTimeoutInSec=0), ready=False
    )
    wait_until(lambda: described_error(server), 40, "the worker has failed")
    error: Any = described_error(server)
    assert "rank 1: this rank does not load" in json.dumps(error)
    wait_until(lambda: len(server.processes()) <= 2, 10, "no rank is left")


def described_error(server: Server) -> object:
    try:
        return server.workers("ranks")[0].get("lastError")
    except (OSError, LookupError, TypeError):  # not registered yet
        return None


def test_scaling_starts_and_ends_whole_groups(start_server) -> None:
    server: Server = start_server(group())
    old = ranks(server)
    assert server.manage("PUT", "/models/ranks?min_worker=2&synchronous=true").status == 200
    assert len(server.worker_pids("ranks")) == 2
    assert server.manage("PUT", "/models/ranks?min_worker=0&synchronous=true").status == 200
    wait_until(lambda: not any(map(is_alive, old)), 5, "both ranks are gone")
    wait_until(lambda: len(server.processes()) <= 2, 5, "only server and janitor are left")


def test_what_cannot_be_is_refused(start_server) -> None:
    broken = group(torchrun="{nnodes: 2, nproc-per-node: 2}")
    server: Server = start_server(broken, models=[])
    answer = server.manage("POST", "/models?url=ranks.mar")
    assert answer.status == 400
    assert b"one machine" in answer.body
