"""What tserve sets out to reach, and whether the measurements show it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from measure.results import FLOOR, OURS, Results, Row
from measure.workloads import ALL

MISSING = "not measured"


@dataclass(frozen=True)
class Verdict:
    """One target: None where it was not measured."""

    target: str
    aim: str
    measured: str
    is_reached: bool | None

    def word(self) -> str:
        return "-" if self.is_reached is None else "PASS" if self.is_reached else "FAIL"


# Throughput: workload, connections, against whom, times theirs.
THROUGHPUT = (
    ("noop", 64, "mosec", 3.0),
    ("noopb", 64, "mosec", 1.4),
    ("mlp", 64, "triton", 1.2),
    ("tensor", 16, "mosec", 2.5),
    ("tensor", 16, FLOOR, 0.5),
)
FLOOR_P50_TIMES = 1.6
CPU_MICROSECONDS = 35.0
OPEN_P99_TIMES = 5.0
# More requests than this without a free connection: the server does not keep up, and p50 is that
# of its backlog.
OPEN_WAITED_SHARE = 0.01
IDLE_MIB = 30.0
READY_MS = 150.0
MODEL_KIB = 200.0
SCALING_TOLERANCE = 0.05
OBSERVED_COST = 0.03


def verdicts(results: Results) -> list[Verdict]:
    """All targets, in the order of the report."""
    return [
        _floor_latency(results),
        *(_throughput(results, *target) for target in THROUGHPUT),
        _cpu(results),
        *(_tail(results, workload.name) for workload in ALL),
        *_open(results),
        *_idle(results),
        _scaling(results),
        *_observed(results),
    ]


def _floor_latency(results: Results) -> Verdict:
    ratio = results.ratio(FLOOR, "noop", 1, "p50_us")
    ours, floor = (results.median(name, "noop", 1, "p50_us") for name in (OURS, FLOOR))
    measured = MISSING
    if ratio is not None:
        measured = f"{ratio:.2f} times ({ours:.0f} us, {floor:.0f} us)"
    aim = f"p50 at most {FLOOR_P50_TIMES} times the HTTP floor's"
    return Verdict("noop, 1 connection", aim, measured, _below(ratio, FLOOR_P50_TIMES))


def _throughput(
    results: Results, workload: str, connections: int, peer: str, times: float
) -> Verdict:
    ratio = results.ratio(peer, workload, connections, "rps")
    ours, theirs = (results.median(name, workload, connections, "rps") for name in (OURS, peer))
    measured = MISSING
    if ratio is not None:
        measured = f"{ratio:.2f} times ({ours:,.0f}/s, {theirs:,.0f}/s)"
    whose = "the HTTP floor" if peer == FLOOR else peer
    return Verdict(
        f"{workload}, {connections} connections",
        f"throughput at least {times:g} times {whose}",
        measured,
        None if ratio is None else ratio >= times,
    )


def _cpu(results: Results) -> Verdict:
    used = results.median(OURS, "noop", 64, "cpu_us")
    return Verdict(
        "noop, 64 connections",
        f"CPU of all processes at most {CPU_MICROSECONDS:g} us per request",
        MISSING if used is None else f"{used:.1f} us",
        _below(used, CPU_MICROSECONDS),
    )


def _tail(results: Results, workload: str) -> Verdict:
    ours = results.median(OURS, workload, 64, "p99_us")
    best = results.best_peer(workload, 64, "p99_us", min)
    measured, is_reached = MISSING, None
    if ours is not None and best is not None:
        measured = f"{ours / 1e3:.2f} ms ({best[1]} {best[0] / 1e3:.2f} ms)"
        is_reached = ours <= best[0]
    aim = "p99 no worse than the best peer's"
    return Verdict(f"{workload}, 64 connections", aim, measured, is_reached)


def _open(results: Results) -> list[Verdict]:
    found = [run for run in results.data["open"] if run["server"] == OURS]
    aim = f"p99 under {OPEN_P99_TIMES:g} times p50, no errors"
    if not found:
        return [Verdict("open loop at 70 % of own capacity", aim, MISSING, None)]
    others = [run for run in results.data["open"] if run["server"] != OURS]
    return [_open_run(run, aim, others) for run in found]


def percent(share: float, digits: int = 0) -> str:
    """A share as the report writes it."""
    return f"{share * 100:.{digits}f} %"


def _open_run(run: Row, aim: str, others: list[Row]) -> Verdict:
    times = run["p99_us"] / run["p50_us"]
    beside = "".join(
        f"; {'the HTTP floor' if other['server'] == FLOOR else other['server']} at its"
        f" {percent(other['share'])}: {other['p99_us'] / other['p50_us']:.1f} times"
        for other in others
        if other["workload"] == run["workload"] and other["arrivals"] == run["arrivals"]
    )
    if "unsteady" in run:
        beside += f"; {percent(run['unsteady'])} of the machine's fifths of a second were slow"
    errors = run["wrong"] + run["broken"]
    waited = run["waited"] / max(1, run["requests"] + errors)
    return Verdict(
        f"open loop, {run['workload']}, {run['arrivals']}, {percent(run['share'])} of own capacity",
        aim,
        f"{times:.1f} times ({run['p99_us'] / 1e3:.2f} ms, {run['p50_us'] / 1e3:.2f} ms),"
        f" {errors:,} errors in {run['seconds']:g} s"
        + (f", {waited * 100:.0f} % found no connection" if waited > OPEN_WAITED_SHARE else "")
        + beside,
        times < OPEN_P99_TIMES and errors == 0 and waited <= OPEN_WAITED_SHARE,
    )


def _idle(results: Results) -> list[Verdict]:
    runs = [run for run in results.data["idle"] if run["server"] == OURS]
    rows = (
        ("server, idle, no models", "resident", "resident_mib", IDLE_MIB, "MiB"),
        ("server, idle, no models", "ready", "ready_ms", READY_MS, "ms"),
        (
            "models loaded and idle",
            "server grows each by",
            "growth_kib_per_model",
            MODEL_KIB,
            "KiB",
        ),
    )
    found = []
    for target, what, key, limit, unit in rows:
        values = [value for run in runs for value in run.get(key, [])]
        value = statistics.median(values) if values else None
        measured = MISSING if value is None else f"{value:.1f} {unit}"
        aim = f"{what} under {limit:g} {unit}"
        found.append(Verdict(target, aim, measured, None if value is None else value < limit))
    return found


def _scaling(results: Results) -> Verdict:
    efficiency = scaling_efficiency(results)
    measured, is_reached = MISSING, None
    if efficiency:
        measured = ", ".join(f"{count}: {percent(it, 1)}" for count, it in efficiency.items())
        is_reached = all(abs(value - 1) <= SCALING_TOLERANCE for value in efficiency.values())
    aim = f"throughput per worker within {percent(SCALING_TOLERANCE)} of one worker's"
    return Verdict("sleeping handler, 2, 4, 8 workers", aim, measured, is_reached)


def scaling_efficiency(results: Results) -> dict[int, float]:
    """Throughput per worker over that of one worker, for every other number of workers."""
    rates: dict[int, list[float]] = {}
    for run in results.data["scaling"]:
        rates.setdefault(run["workers"], []).append(run["rps"])
    medians = {count: statistics.median(values) for count, values in sorted(rates.items())}
    if 1 not in medians:
        return {}
    return {count: rps / (count * medians[1]) for count, rps in medians.items() if count > 1}


def _observed(results: Results) -> list[Verdict]:
    runs = results.data.get("observed", [])
    if not runs:
        return []
    share = f"{runs[0]['traced_share'] * 100:g} %"
    what = "noop, 64 connections, all metrics, logs and timing"
    return [
        _observed_beside_nothing(what, "on", runs),
        _observed_beside_nothing(f"{what}, and spans of {share} of the requests", "traced", runs),
    ]


def _observed_beside_nothing(target: str, name: str, runs: list[Row]) -> Verdict:
    costs = sorted(1 - run[name]["rps"] / run["off"]["rps"] for run in runs)
    cost = statistics.median(costs)
    quarter = len(costs) // 4
    on, off = (statistics.median(run[which]["cpu_us"] for run in runs) for which in (name, "off"))
    measured = (
        f"{percent(cost, 1)} (middle half of {len(costs)}: {percent(costs[quarter], 1)} to"
        f" {percent(costs[-1 - quarter], 1)}); CPU {on:.1f} us beside {off:.1f} us"
    )
    aim = f"costs under {percent(OBSERVED_COST)} of throughput"
    return Verdict(target, aim, measured, cost < OBSERVED_COST)


def _below(value: float | None, limit: float) -> bool | None:
    return None if value is None else value <= limit
