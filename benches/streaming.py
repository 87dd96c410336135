"""How long a part of a stream takes from the handler's send to the client, and how many per second.

    python benches/streaming.py [--binary target/release/tserve] [--streams 1 16] [--json FILE]

Handler and client read the same clock (CLOCK_MONOTONIC). The first part opens the answer, so that
it takes the head along; each stream is a connection of its own. Ends with status 1 when the median
of the first parts of a single stream is above 2 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from harness.archives import build_archive  # noqa: E402
from harness.server import Server  # noqa: E402

LIMIT_MS = 2.0
PARTS = 20


def one_stream(port: int) -> list[float]:
    """Milliseconds that each part of one stream was under way."""
    delays: list[float] = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        body = str(PARTS).encode()
        head = (
            f"POST /predictions/clocked HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        buffer = b""
        while not buffer.endswith(b"0\r\n\r\n"):
            data = connection.recv(65536)
            now = time.monotonic_ns()
            if not data:
                raise ConnectionError(f"the stream broke off: {buffer[-200:]!r}")
            buffer += data
            # The lines that are numbers of 10 digits or more are the parts; a part is one packet.
            sent = [line for line in data.split(b"\r\n") if len(line) > 9 and line.isdigit()]
            delays += [(now - int(line)) / 1e6 for line in sent]
    return delays


def percentile(values: list[float], share: float) -> float:
    """The value below which that share of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure(server: Server, streams: int, rounds: int) -> dict[str, float]:
    """Runs so many streams side by side, again and again."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        runs = list(pool.map(one_stream, [server.port] * streams * rounds))
    elapsed = time.perf_counter() - begun
    first, later = [run[0] for run in runs], [delay for run in runs for delay in run[1:]]
    return {
        "streams": streams,
        "first_p50_ms": statistics.median(first),
        "first_p99_ms": percentile(first, 0.99),
        "later_p50_ms": statistics.median(later),
        "later_p99_ms": percentile(later, 0.99),
        "parts_per_s": sum(map(len, runs)) / elapsed,
    }


def main() -> int:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--binary", type=Path, help="server to measure (default: TSERVE_BIN or built)"
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.binary:
        os.environ["TSERVE_BIN"] = str(options.binary)
    with tempfile.TemporaryDirectory() as folder:
        workers = max(options.streams)
        settings = {"minWorkers": workers, "maxWorkers": workers}
        archive = build_archive(Path(folder, "store"), "clocked", settings=settings)
        server = Server(Path(folder), models=[archive.name])
        try:
            server.start()
            one_stream(server.port)
            results = [measure(server, count, options.rounds) for count in options.streams]
        finally:
            server.stop()
    print("| streams | first part p50 ms | p99 | later parts p50 ms | p99 | parts/s |")
    print("|--:|--:|--:|--:|--:|--:|")
    for result in results:
        print(
            "| {streams} | {first_p50_ms:.2f} | {first_p99_ms:.2f} | {later_p50_ms:.2f} "
            "| {later_p99_ms:.2f} | {parts_per_s:,.0f} |".format(**result)
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    single = [result for result in results if result["streams"] == 1]
    return int(any(result["first_p50_ms"] > LIMIT_MS for result in single))


if __name__ == "__main__":
    sys.exit(main())
