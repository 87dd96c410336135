"""Loads a server at a share of its own capacity for minutes, in an open loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from measure.compare import running
from measure.load import Failed
from measure.machine import unsteady
from measure.peers import Peer
from measure.results import Results, Row
from measure.workloads import Prepared, Workload

# The capacity is measured at this many connections; the open loop may use more.
CAPACITY_CONNECTIONS = 64
OPEN_CONNECTIONS = 256


@dataclass(frozen=True)
class OpenPlan:
    """How long, how much and how spread."""

    seconds: float
    capacity_seconds: float
    warm_up: float
    share: float
    arrivals: str
    watch: float
    loadgen: Path


def measure(peer: Peer, workload: Workload, plan: OpenPlan, prepared: Prepared) -> Row:
    """Measures the capacity in a closed loop, then the latency at a share of it.

    Raises:
        Failed: the server did not start or answered wrongly.
    """
    watched = {"unsteady": unsteady(plan.watch)} if plan.watch else {}
    with running(peer, workload, prepared, plan.loadgen, plan.warm_up) as active:
        closed = active.loader.run(CAPACITY_CONNECTIONS, plan.capacity_seconds)
        rate = float(closed["rps"]) * plan.share
        if rate <= 0:
            raise Failed(f"no right answer under load: {closed}")
        print(f"  capacity {closed['rps']:,.0f}/s, offering {rate:,.0f}/s", flush=True)
        # The last --warm-up counts: the load generator's own, at the rate of the measurement.
        more = (
            "--rate",
            f"{rate:.3f}",
            "--arrivals",
            plan.arrivals,
            "--warm-up",
            f"{plan.warm_up}",
        )
        cell = active.loader.run(OPEN_CONNECTIONS, plan.seconds, *more)
        return {
            **cell,
            **watched,
            "server": peer.name,
            "workload": workload.name,
            "capacity_rps": closed["rps"],
            "share": plan.share,
        }


def run(peer: Peer, workload: Workload, plan: OpenPlan, prepared: Prepared, to: Results) -> None:
    """Measures and replaces what was known about the same run."""
    print(f"open loop: {workload.name} on {peer.name}, {plan.arrivals}", flush=True)
    found = measure(peer, workload, plan, prepared)
    keys = ("server", "workload", "arrivals")
    same = tuple(found[key] for key in keys)
    others = [known for known in to.data["open"] if tuple(known[key] for key in keys) != same]
    to.data["open"] = [*others, found]
    times = found["p99_us"] / found["p50_us"]
    print(
        f"  p50 {found['p50_us'] / 1e3:.2f} ms,"
        f" p99 {found['p99_us'] / 1e3:.2f} ms ({times:.1f} times),"
        f" max {found['max_us'] / 1e3:.1f} ms, {found['wrong'] + found['broken']} errors",
        flush=True,
    )
