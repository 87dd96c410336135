"""Measures tserve and its peers; `make bench` and its siblings call this.

    python benches/run.py compare             # tserve, peers and the C floor in turn
    python benches/run.py open                # 70 % of the own capacity, five minutes, open loop
    python benches/run.py idle                # memory and readiness without load
    python benches/run.py scaling             # 1, 2, 4, 8 workers of a sleeping handler
    python benches/run.py observed            # metrics, logs, timing, traces: all on, all off
    python benches/run.py locust              # benches/locustfile.py against tserve
    python benches/run.py report              # the table and the picture once more

Every command adds to one file of results and writes the report anew. README.md says what is
measured and how.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from measure import compare, idle, install, locust, observed, open_loop, report, scaling
from measure.load import Failed
from measure.peers import Compatible, Floor, Mosec, Peer, TorchServe, Triton
from measure.results import FLOOR, OURS, Results
from measure.targets import verdicts
from measure.workloads import ALL, BY_NAME, Prepared

REPOSITORY = Path(__file__).resolve().parents[1]
BENCH = REPOSITORY / ".bench"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
PLOT = Path(__file__).resolve().parent / "measure" / "plot.py"


def known_servers(options: argparse.Namespace) -> list[Peer]:
    """Ours first, then the peers, then the floor."""
    reference = Path(options.reference).resolve() / "bin" / "torchserve"
    others = dict(text.split("=", 1) for text in options.server)
    return [
        Compatible(OURS, str(Path(options.tserve).resolve())),
        *(Compatible(name, command) for name, command in others.items()),
        TorchServe("torchserve", str(reference)),
        Mosec("mosec", install.python_of(options.environments, "mosec")),
        Triton("triton", install.python_of(options.environments, "triton")),
        Floor(FLOOR, options.work),
    ]


def chosen_servers(options: argparse.Namespace, results: Results) -> list[Peer]:
    """Those asked for that are installed; says which are left out."""
    wanted = options.servers.split(",") if options.servers else None
    chosen = []
    results.data["left_out"] = {}
    for server in known_servers(options):
        if wanted and server.name not in wanted:
            continue
        if why := server.missing():
            print(f"left out: {server.name}: {why}", flush=True)
            results.data["left_out"][server.name] = why
            continue
        chosen.append(server)
        results.data["servers"][server.name] = {
            "version": server.version(),
            "is_peer": not isinstance(server, Floor) and type(server) is not Compatible,
        }
    return chosen


def ours(options: argparse.Namespace, results: Results) -> Compatible:
    """Only tserve."""
    server = Compatible(OURS, str(Path(options.tserve).resolve()))
    if why := server.missing():
        raise Failed(why)
    results.data["servers"].setdefault(OURS, {"version": server.version(), "is_peer": False})
    return server


def run_compare(options: argparse.Namespace, prepared: Prepared, results: Results) -> None:
    names = options.workloads.split(",")
    plan = compare.Plan(
        servers=chosen_servers(options, results),
        workloads=[workload for workload in ALL if workload.name in names],
        connections=[int(count) for count in options.connections.split(",") if count],
        rounds=options.rounds,
        seconds=options.seconds,
        warm_up=options.warm_up,
        retries=options.retries,
        loadgen=options.loadgen,
    )
    compare.compare(plan, prepared, results, options.out)


def run_open(options: argparse.Namespace, prepared: Prepared, results: Results) -> None:
    plan = open_loop.OpenPlan(
        seconds=options.seconds,
        capacity_seconds=options.capacity_seconds,
        warm_up=options.warm_up,
        share=options.share,
        arrivals=options.arrivals,
        watch=options.watch,
        loadgen=options.loadgen,
    )
    for name in options.workloads.split(","):
        for server in chosen_servers(options, results):
            if name in server.workloads:
                open_loop.run(server, BY_NAME[name], plan, prepared, results)
                results.save(options.out)


def run_idle(options: argparse.Namespace, prepared: Prepared, results: Results) -> None:
    server = ours(options, results)
    print(f"idle: {options.starts} starts, then {options.models} models", flush=True)
    found = idle.starts(server, prepared, options.starts)
    if options.models:
        found.update(idle.models(server, prepared, options.models))
    results.data["idle"] = [found]


def run_scaling(options: argparse.Namespace, prepared: Prepared, results: Results) -> None:
    server = ours(options, results)
    counts = [int(count) for count in options.workers.split(",")]
    if not options.append:
        results.data["scaling"] = []
    for number in range(options.rounds):
        print(f"scaling: round {number + 1} of {options.rounds}", flush=True)
        found = scaling.run(server, prepared, options.loadgen, counts, options.seconds)
        results.data["scaling"] += found
        results.save(options.out)


def run_observed(options: argparse.Namespace, prepared: Prepared, results: Results) -> None:
    plan = observed.ObservedPlan(
        visits=options.visits,
        turns=options.turns,
        seconds=options.seconds,
        warm_up=options.warm_up,
        traced=options.traced,
        loadgen=options.loadgen,
    )
    command = shlex.join(ours(options, results).command)
    results.data["observed"] = observed.run(command, plan, prepared)


def run_locust(options: argparse.Namespace, prepared: Prepared, results: Results) -> None:
    python = install.python_of(options.environments, "tools")
    server = ours(options, results)
    locust.run(server, prepared, options.loadgen, python, options.users, options.seconds)


COMMANDS = {
    "compare": run_compare,
    "open": run_open,
    "idle": run_idle,
    "scaling": run_scaling,
    "observed": run_observed,
    "locust": run_locust,
}


def draw(options: argparse.Namespace) -> Path | None:
    """The picture, where matplotlib is installed."""
    if options.no_picture:
        return None
    picture: Path = options.out.with_suffix(".png")
    tools = install.python_of(options.environments, "tools")
    python = str(tools) if tools.exists() else sys.executable
    done = subprocess.run(
        [python, str(PLOT), str(options.out), str(picture)],
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(f"no picture: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return None
    return picture


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    common = argparse.ArgumentParser(add_help=False)
    add = common.add_argument
    add("--tserve", default=Path(sys.executable).parent / "tserve", help="release build")
    add("--loadgen", type=Path, default=TARGET / "release" / "tserve-loadgen")
    add("--reference", default=REPOSITORY / ".venv-reference", help="environment of TorchServe")
    add("--environments", type=Path, default=BENCH / "peers", help="where the peers are installed")
    add("--work", type=Path, default=BENCH / "work", help="bodies, archives, the C floor")
    add("--out", type=Path, default=BENCH / "results.json", help="the file of results")
    add("--strict", action="store_true", help="end with status 1 when a target is missed")
    add("--no-picture", action="store_true", help="only the table")
    also = "one more server with TorchServe's command line, such as another build"
    add("--server", action="append", default=[], metavar="NAME=COMMAND", help=also)
    add("--warm-up", type=float, default=2)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("compare", parents=[common], help="all servers in turn")
    one.add_argument("--servers", help="names, with commas; all that are installed by default")
    one.add_argument("--workloads", default=",".join(workload.name for workload in ALL))
    one.add_argument("--connections", default="", help="only these of each workload's")
    one.add_argument("--rounds", type=int, default=3)
    one.add_argument("--seconds", type=float, default=4)
    one.add_argument("--retries", type=int, default=1, help="of a disturbed measurement")
    one.add_argument("--append", action="store_true", help="add rounds to the file of results")
    one = commands.add_parser("open", parents=[common], help="open loop at a share of the capacity")
    one.add_argument("--servers", default=OURS, help="names, with commas")
    one.add_argument("--workloads", default="mlp,device")
    one.add_argument("--seconds", type=float, default=300)
    one.add_argument("--capacity-seconds", type=float, default=5)
    one.add_argument("--share", type=float, default=0.7)
    one.add_argument("--watch", type=float, default=20, help="seconds to judge the machine in")
    one.add_argument("--arrivals", choices=["poisson", "uniform"], default="poisson")
    one = commands.add_parser("idle", parents=[common], help="memory and readiness without load")
    one.add_argument("--starts", type=int, default=5)
    one.add_argument("--models", type=int, default=50)
    one = commands.add_parser("scaling", parents=[common], help="more workers, more throughput")
    one.add_argument("--workers", default="1,2,4,8")
    one.add_argument("--rounds", type=int, default=3)
    one.add_argument("--seconds", type=float, default=4)
    one.add_argument("--append", action="store_true", help="add rounds to the file of results")
    one = commands.add_parser("observed", parents=[common], help="what it costs to see everything")
    one.add_argument("--visits", type=int, default=5, help="how often the servers are started")
    one.add_argument("--turns", type=int, default=8, help="loads of each server in each visit")
    one.add_argument("--seconds", type=float, default=1, help="of each load")
    one.add_argument("--traced", type=float, default=0.001, help="share of requests with spans")
    one = commands.add_parser("locust", parents=[common], help="locustfile.py against tserve")
    one.add_argument("--users", type=int, default=20)
    one.add_argument("--seconds", type=float, default=30)
    commands.add_parser("report", parents=[common], help="only the table and the picture")
    commands.add_parser("install", parents=[common], help="install the peers")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.command == "install":
        install.install_all(options.environments)
        return 0
    results = Results.load(options.out)
    if options.command == "compare" and not options.append:
        for section in ("servers", "cells", "failures"):
            results.data[section] = type(results.data[section])()
    if measure := COMMANDS.get(options.command):
        try:
            measure(options, Prepared(options.work), results)
        except Failed as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
        if options.command == "locust":
            return 0
        results.save(options.out)
    print("\n" + report.write(results, options.out.with_suffix(".md"), draw(options)))
    print(f"written: {options.out} and the report beside it")
    missed = any(verdict.is_reached is False for verdict in verdicts(results))
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
