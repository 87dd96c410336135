"""Loads all servers with the same workloads, in turn, round after round."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from measure.load import NOISY_CORES, Cell, Failed, Loader, ask, wait_until_right
from measure.peers import Peer
from measure.processes import ServerProcess
from measure.results import Results
from measure.workloads import Prepared, Workload

WARM_UP_CONNECTIONS = 16


@dataclass(frozen=True)
class Plan:
    """What is measured and for how long."""

    servers: Sequence[Peer]
    workloads: Sequence[Workload]
    connections: Sequence[int]
    rounds: int
    seconds: float
    warm_up: float
    retries: int
    loadgen: Path


@dataclass(frozen=True)
class Visit:
    """A server that runs, has given a right answer and is warm."""

    server: ServerProcess
    loader: Loader
    start_up_s: float
    metrics_port: int


@contextmanager
def running(
    peer: Peer, workload: Workload, prepared: Prepared, loadgen: Path, warm_up: float
) -> Iterator[Visit]:
    """Starts a server, waits for the right answer, warms it up; checks it again at the end.

    Raises:
        Failed: it did not start, or its answer is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="tserve-bench-") as name:
        folder = Path(name)
        (folder / "cwd").mkdir()
        start = peer.start(prepared, workload, folder / "cwd")
        request = peer.request(prepared, workload)
        server = ServerProcess(start.words, start.environment, folder / "cwd", folder / "output")
        try:
            body = wait_until_right(server, start.port, request, peer.ready_seconds)
            start_up_s = time.monotonic() - server.started
            expected = folder / "expected"
            expected.write_bytes(body)
            threads = workload.load_threads
            loader = Loader(loadgen, server, start.port, request, expected, threads)
            if warm_up:
                loader.run(WARM_UP_CONNECTIONS, warm_up)
            yield Visit(server, loader, start_up_s, start.metrics_port)
            if ask(start.port, request) is None:
                raise Failed("the answer is wrong after the load: " + server.output())
        finally:
            if not server.stop(peer.grace_seconds):
                print(f"  {peer.name}: something it started is still alive", flush=True)


def visit(peer: Peer, workload: Workload, plan: Plan, prepared: Prepared) -> list[Cell]:
    """Starts one server and measures it at every number of connections."""
    cells: list[Cell] = []
    with running(peer, workload, prepared, plan.loadgen, plan.warm_up) as active:
        for connections in workload.connections:
            if plan.connections and connections not in plan.connections:
                continue
            cell = active.loader.run_quietly(connections, plan.seconds, plan.retries)
            memory = active.server.memory()
            cell.update(pss_mib=memory.pss_mib, processes=memory.processes)
            cells.append(cell)
        for cell in cells:
            cell.update(server=peer.name, workload=workload.name, start_up_s=active.start_up_s)
    return cells


def compare(plan: Plan, prepared: Prepared, results: Results, file: Path) -> None:
    """Measures all rounds and saves after every visit."""
    first = results.next_round()
    broken: set[tuple[str, str]] = set()
    for number in range(first, first + plan.rounds):
        for workload in plan.workloads:
            for peer in plan.servers:
                if workload.name not in peer.workloads or (peer.name, workload.name) in broken:
                    continue
                print(f"round {number}: {workload.name} on {peer.name}", flush=True)
                try:
                    cells = visit(peer, workload, plan, prepared)
                except (Failed, OSError) as error:
                    print(f"  failed: {error}", flush=True)
                    broken.add((peer.name, workload.name))
                    where = {"server": peer.name, "workload": workload.name, "round": number}
                    results.data["failures"].append({**where, "error": str(error)})
                    continue
                for cell in cells:
                    print("  " + in_words(cell), flush=True)
                    results.data["cells"].append({**cell, "round": number})
                results.save(file)


def in_words(cell: Cell) -> str:
    """One line for the person who watches."""
    p50, p99 = float(cell["p50_us"]) / 1e3, float(cell["p99_us"]) / 1e3
    bad = int(cell["wrong"]) + int(cell["broken"])
    noisy = float(cell["other_cores"]) >= NOISY_CORES
    return (
        f"{cell['connections']:>3} connections: {cell['rps']:,.0f}/s, p50 {p50:.2f} ms,"
        f" p99 {p99:.2f} ms, {cell['cpu_us']:.0f} us CPU, {cell['pss_mib']:.0f} MiB"
        + (f", {bad} BAD" if bad else "")
        + (f", others used {cell['other_cores']:.1f} cores" if noisy else "")
    )
