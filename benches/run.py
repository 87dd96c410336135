"""Loads the real tserve and the real TorchServe with the same archives, side by side.

    python benches/run.py --tserve PATH --reference ENVIRONMENT --loadgen PATH
    make bench BENCH_ARGS='--rounds 5 --connections 1,16,64'

Within a round every server gets its turn, so that a slow minute of the machine hits both; the
figures are medians over the rounds. README.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from harness.archives import build_archive  # noqa: E402
from harness.server import Server  # noqa: E402

# The promise of the project: with a no-op handler, one worker and 64 connections.
PROMISED_RATIO = 5.0

SCENARIOS = {
    "noop": {"settings": {"minWorkers": 1, "maxWorkers": 1}, "body_bytes": 1024},
    "batched": {
        "settings": {"minWorkers": 1, "maxWorkers": 1, "batchSize": 32, "maxBatchDelay": 2},
        "body_bytes": 1024,
    },
    "megabyte": {"settings": {"minWorkers": 1, "maxWorkers": 1}, "body_bytes": 1 << 20},
}


def prepared(folder: Path, command: list[str], scenario: str) -> Server:
    """A server with one no-op model of one worker."""
    server = Server(
        folder,
        command=command,
        models=[f"{scenario}.mar"],
        config={"job_queue_size": 1000},
        flags=["--ncs", "--disable-token-auth"],
    )
    build_archive(
        server.store, scenario, handler="noop.py", settings=SCENARIOS[scenario]["settings"]
    )
    return server


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Starts it, checks that it answers, stops it."""
    try:
        server.start(seconds=120)
        answer = server.predict(server.models[0].removesuffix(".mar"), b"x")
        assert (answer.status, answer.body) == (200, b"ok"), answer
        yield server
    finally:
        server.stop()


def cpu_seconds(server: Server) -> float:
    """CPU time that all processes of the server have used."""
    ticks = 0
    for pid in server.processes():
        try:
            fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(options: argparse.Namespace, server: Server, scenario: str, connections: int) -> dict:
    """One run of the load generator; its report and the server's CPU time per request."""
    body = server.folder / "body.bin"
    body.write_bytes(bytes(SCENARIOS[scenario]["body_bytes"]))
    words = [
        options.loadgen,
        *("--address", f"127.0.0.1:{server.port}", "--path", f"/predictions/{scenario}"),
        *("--body", body, "--expect", "ok", "--connections", str(connections)),
        *("--seconds", str(options.seconds), "--warm-up", str(options.warm_up)),
    ]
    before = cpu_seconds(server)
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    report = json.loads(done.stdout)
    share = options.seconds / (options.seconds + options.warm_up)
    used = (cpu_seconds(server) - before) * share
    report["cpu_us"] = used / max(1, report["requests"]) * 1e6
    return report


def visit(
    options: argparse.Namespace, command: list[str], scenario: str, connections: list[int]
) -> Iterator[tuple[int, dict]]:
    """Starts one server and measures it at every number of connections."""
    with (
        tempfile.TemporaryDirectory(prefix="tserve-bench-") as folder,
        running(prepared(Path(folder), command, scenario)) as server,
    ):
        for count in connections:
            yield count, measure(options, server, scenario, count)


def in_words(cell: dict) -> str:
    p50, p99 = cell["p50_us"] / 1e3, cell["p99_us"] / 1e3
    return f"{cell['rps']:,.0f} req/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms"


def median(cells: list[dict], key: str) -> float:
    return statistics.median(cell[key] for cell in cells)


def table(results: dict[tuple[str, int, str], list[dict]]) -> tuple[str, bool]:
    """The figures as Markdown, and whether the promise is kept."""
    lines = [
        "| model | connections | server | req/s | p50 ms | p99 ms | CPU us/req | failed | ratio |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    kept = True
    for (scenario, connections, name), cells in results.items():
        theirs = results.get((scenario, connections, "torchserve"))
        rps = median(cells, "rps")
        ratio = rps / median(theirs, "rps") if theirs and name != "torchserve" else None
        if (scenario, connections, name) == ("noop", 64, "tserve") and ratio is not None:
            kept = ratio >= PROMISED_RATIO
        failed = sum(cell["wrong"] + cell["broken"] for cell in cells)
        p50, p99 = median(cells, "p50_us") / 1e3, median(cells, "p99_us") / 1e3
        lines.append(
            f"| {scenario} | {connections} | {name} | {rps:,.0f} | {p50:.2f} | {p99:.2f}"
            f" | {median(cells, 'cpu_us'):.0f} | {failed} | {f'{ratio:.1f}x' if ratio else ''} |"
        )
    return "\n".join(lines), kept


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tserve", required=True, help="the tserve binary, release build")
    parser.add_argument(
        "--reference", help="environment of the real TorchServe; left out if absent"
    )
    parser.add_argument("--loadgen", required=True, help="the tserve-loadgen binary, release build")
    parser.add_argument("--scenarios", default="noop,batched,megabyte")
    parser.add_argument("--connections", default="1,64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--warm-up", type=float, default=2)
    parser.add_argument("--json", type=Path, help="file for every single measurement")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    commands = {"tserve": [str(Path(options.tserve).resolve())]}
    if options.reference:
        commands["torchserve"] = [str(Path(options.reference).resolve() / "bin" / "torchserve")]
    connections = [int(number) for number in options.connections.split(",")]
    results: dict[tuple[str, int, str], list[dict]] = {
        (scenario, count, name): []
        for scenario in options.scenarios.split(",")
        for count in connections
        for name in commands
    }
    for number in range(options.rounds):
        for scenario in options.scenarios.split(","):
            for name, command in commands.items():
                print(f"round {number + 1} of {options.rounds}: {scenario} on {name}", flush=True)
                for count, cell in visit(options, command, scenario, connections):
                    results[scenario, count, name].append(cell)
                    print(f"  {count:3} connections: {in_words(cell)}", flush=True)
    text, kept = table(results)
    print(f"\n{os.cpu_count()} CPUs, {platform.machine()}, Linux {platform.release()}\n\n{text}")
    if options.json:
        rows = [
            {"model": key[0], "connections": key[1], "server": key[2], **cell}
            for key, cells in results.items()
            for cell in cells
        ]
        options.json.write_text(json.dumps(rows, indent=1))
    if not kept:
        print(f"\nless than {PROMISED_RATIO:.0f} times TorchServe's throughput (noop, 64)")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
