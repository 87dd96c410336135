"""What it costs to see everything: the no-op with metrics, logs, timing and traces, and without.

The servers run at the same time and are loaded in turn, a second each, so that whatever else the
machine does meets all. The figure is the median over the ratios of neighbours.
"""

from __future__ import annotations

import http.client
import shlex
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from measure.compare import Visit, running
from measure.load import Failed
from measure.peers import Compatible
from measure.results import Row
from measure.workloads import BY_NAME, Prepared

CONNECTIONS = 64
SCRAPE_SECONDS = 1.0

# Every log line and metric is on by default.
EVERYTHING = {"server_timing": "true", "extended_metrics": "true"}
NOTHING = {
    "request_metrics": "false",
    "metrics_mode": "prometheus",
    "disable_system_metrics": "true",
}
SILENCE = """\
<Configuration>
  <Loggers>
    <Logger name="ACCESS_LOG" level="off"/>
    <Root level="error"/>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True)
class ObservedPlan:
    """How often and how long, and the share of requests with spans, where there are any."""

    visits: int
    turns: int
    seconds: float
    warm_up: float
    traced: float
    loadgen: Path


class Collector(BaseHTTPRequestHandler):
    """Takes spans as an OTLP collector does, and forgets them."""

    protocol_version = "HTTP/1.1"
    taken = 0

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        type(self).taken += len(self.rfile.read(length))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def collector() -> Iterator[str]:
    """An OTLP receiver; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def scraped(port: int) -> Iterator[None]:
    """Reads the metrics page every second, as Prometheus does."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(SCRAPE_SECONDS):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request("GET", "/metrics")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                continue
            finally:
                connection.close()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=20)


def run(command: str, plan: ObservedPlan, prepared: Prepared) -> list[Row]:
    """One row for each turn of loads.

    Raises:
        Failed: a server did not start or answered wrongly, or no span arrived.
    """
    rows = []
    silence = prepared.folder / "silence.xml"
    silence.write_text(SILENCE)
    silent = f"{command} --log-config {shlex.quote(str(silence))}"
    with collector() as endpoint:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": f"{plan.traced:g}",
        }
        servers = {
            "off": Compatible("nothing", silent, NOTHING),
            "on": Compatible("everything", command, EVERYTHING),
            "traced": Compatible("everything and traces", command, EVERYTHING, variables),
        }
        for number in range(1, plan.visits + 1):
            print(f"observed: visit {number} of {plan.visits}", flush=True)
            with ExitStack() as stack:
                visits = {
                    name: stack.enter_context(
                        running(peer, BY_NAME["noop"], prepared, plan.loadgen, plan.warm_up)
                    )
                    for name, peer in servers.items()
                }
                pids = {visit.server.process.pid for visit in visits.values()}
                for visit in visits.values():
                    # Those started later would be taken for children of this one.
                    visit.server.ignored |= pids - {visit.server.process.pid}
                for name in ("on", "traced"):
                    stack.enter_context(scraped(visits[name].metrics_port))
                rows += [load(visits, plan, number, turn) for turn in range(plan.turns)]
    if plan.traced and not Collector.taken:
        raise Failed("the collector got no spans")
    return rows


def load(visits: dict[str, Visit], plan: ObservedPlan, number: int, turn: int) -> Row:
    """Loads all, every other time the other way round."""
    names = list(visits)
    cells = {}
    for name in reversed(names) if turn % 2 else names:
        cells[name] = visits[name].loader.run(CONNECTIONS, plan.seconds)
    if errors := sum(int(cell["wrong"]) + int(cell["broken"]) for cell in cells.values()):
        raise Failed(f"{errors} requests went wrong")
    row: Row = {"server": "tserve", "visit": number, "turn": turn, "traced_share": plan.traced}
    for name, cell in cells.items():
        row[name] = {key: cell[key] for key in ("rps", "p50_us", "p99_us", "cpu_us", "other_cores")}
    words = [f"{name} {row[name]['rps']:,.0f}/s" for name in names]
    print("  " + ", ".join(words), flush=True)
    return row
