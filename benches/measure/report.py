"""The results as a page of Markdown."""

from __future__ import annotations

import statistics
from pathlib import Path

from measure.load import NOISY_CORES
from measure.results import FLOOR, OURS, Results, Row
from measure.targets import percent, scaling_efficiency, verdicts
from measure.workloads import ALL, Workload


def write(results: Results, file: Path, picture: Path | None) -> str:
    """Writes the page beside the results; returns it."""
    text = render(results, picture.name if picture else None)
    file.write_text(text)
    return text


def render(results: Results, picture: str | None = None) -> str:
    """The whole page."""
    parts = [
        "# Model servers side by side",
        _about(results),
        f"![Throughput, latency, CPU and memory of every server]({picture})" if picture else "",
        "## Targets",
        _verdicts(results),
        *(_workload(results, workload) for workload in ALL),
        _memory(results),
        _open(results),
        _idle(results),
        _scaling(results),
        _failures(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: list[str], rows: list[list[str]], left: int = 1) -> str:
    """A Markdown table; the first `left` columns are text, the others numbers."""
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines).replace("| --", "|--")


def number(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def milliseconds(microseconds: float | None) -> str:
    return number(None if microseconds is None else microseconds / 1e3)


def _about(results: Results) -> str:
    machine, data = results.data["machine"], results.data
    versions = [f"{name} {about['version']}".strip() for name, about in data["servers"].items()]
    lines = [
        f"{' and '.join(data.get('dates', []))}; {machine['cpus']} cores ({machine['cpu']}),"
        f" {machine['memory_gib']} GiB, Linux {machine['kernel']}. One worker everywhere;"
        " load generator and server share the machine, nothing is pinned.",
        f"Servers: {', '.join(versions)}." if versions else "",
        *(f"Left out: {name}: {why}." for name, why in data["left_out"].items()),
        "Figures are medians over the rounds, ratios are medians over the ratios within a round."
        f" A round in which other processes used {NOISY_CORES:g} cores or more counts only where"
        " there is no other. With a + the load generator was the limit.",
        "benches/README.md says what is measured and how.",
    ]
    return "\n".join(line for line in lines if line)


def _verdicts(results: Results) -> str:
    rows = [
        [verdict.target, verdict.aim, verdict.measured, verdict.word()]
        for verdict in verdicts(results)
    ]
    return table(["target", "at least", "measured", "verdict"], rows, left=4)


def _workload(results: Results, workload: Workload) -> str:
    parts = []
    for connections in workload.connections:
        rows = [
            _figures(results, server, workload.name, connections)
            for server in results.servers()
            if results.cells(server, workload.name, connections)
        ]
        if rows:
            head = "server,req/s,lowest-highest,p50 ms,p99 ms,CPU us/req,tserve is,errors,rounds"
            title = f"{connections} connection{'s' if connections > 1 else ''}"
            parts += [f"### {title}", table(head.split(","), rows)]
    return "\n\n".join([f"## {workload.title}", *parts]) if parts else ""


def _figures(results: Results, server: str, workload: str, connections: int) -> list[str]:
    cells = results.cells(server, workload, connections)
    values = {
        key: statistics.median(cell[key] for cell in cells)
        for key in ("rps", "p50_us", "p99_us", "cpu_us")
    }
    rates = [cell["rps"] for cell in cells]
    ratio = results.ratio(server, workload, connections, "rps") if server != OURS else None
    is_bound = statistics.median(cell["own_cores"] / cell["threads"] for cell in cells) > 0.9
    return [
        f"**{server}**" if server == OURS else server,
        number(values["rps"]) + ("+" if is_bound else ""),
        f"{number(min(rates))}-{number(max(rates))}",
        milliseconds(values["p50_us"]),
        milliseconds(values["p99_us"]),
        number(values["cpu_us"]),
        "" if ratio is None else f"{ratio:.2f}x",
        str(sum(cell["wrong"] + cell["broken"] for cell in cells)),
        str(len(cells)),
    ]


def _memory(results: Results) -> str:
    names = [workload.name for workload in ALL]
    rows = []
    for server in results.servers():
        cells = [cell for cell in results.data["cells"] if cell["server"] == server]
        if not cells or server == FLOOR:
            continue
        by_name = [[cell for cell in cells if cell["workload"] == name] for name in names]
        rows.append(
            [
                server,
                *(
                    number(max((cell["pss_mib"] for cell in found), default=None))
                    for found in by_name
                ),
                *(number(_median(found, "start_up_s")) for found in by_name),
                str(max(cell["processes"] for cell in cells)),
            ]
        )
    head = ["server", *(f"{name} MiB" for name in names), *(f"{name} s" for name in names)]
    title = (
        "## Memory (PSS of all processes after the load) and start-up (to the first right answer)"
    )
    return f"{title}\n\n{table([*head, 'processes'], rows)}" if rows else ""


def _median(cells: list[Row], key: str) -> float | None:
    return statistics.median(cell[key] for cell in cells) if cells else None


def _open(results: Results) -> str:
    rows = [
        [
            f"{run['server']}, {run['workload']}, {run['arrivals']}",
            number(run["capacity_rps"]),
            number(run["offered_rps"]),
            number(run["rps"]),
            *(milliseconds(run[f"{name}_us"]) for name in ("p50", "p90", "p99", "p999", "max")),
            milliseconds(run["lag_p99_us"]),
            str(run["waited"]),
            str(run["wrong"] + run["broken"]),
            number(run["seconds"]),
        ]
        for run in results.data["open"]
    ]
    head = "run,capacity,offered/s,answered/s,p50 ms,p90 ms,p99 ms,p99.9 ms,max ms"
    head += ",send lag p99 ms,waited,errors,seconds"
    title = "## Open loop (latency from the moment a request was due)"
    return f"{title}\n\n{table(head.split(','), rows)}" if rows else ""


def _idle(results: Results) -> str:
    rows = []
    for run in results.data["idle"]:
        values = [
            *(run.get(key, []) for key in ("resident_mib", "ready_ms")),
            run.get("growth_kib_per_model", []),
        ]
        figures = [number(statistics.median(found) if found else None) for found in values]
        rows.append([run["server"], *figures, str(run.get("models", "-"))])
    head = ["server", "resident MiB", "ready ms", "KiB per model", "models"]
    return f"## Idle\n\n{table(head, rows)}" if rows else ""


def _scaling(results: Results) -> str:
    rates: dict[int, list[float]] = {}
    for run in results.data["scaling"]:
        rates.setdefault(run["workers"], []).append(run["rps"])
    efficiency = scaling_efficiency(results)
    rows = [
        [
            str(count),
            number(statistics.median(values)),
            percent(efficiency[count], 1) if count in efficiency else "",
        ]
        for count, values in sorted(rates.items())
    ]
    head = ["workers", "req/s", "per worker, of one worker's"]
    return f"## Scaling of a handler that sleeps 20 ms\n\n{table(head, rows)}" if rows else ""


def _failures(results: Results) -> str:
    lines = [
        f"- {failure['server']}, {failure['workload']}, round {failure['round']}:"
        f" {failure['error'].splitlines()[0][:200]}"
        for failure in results.data["failures"]
    ]
    return "## Failures\n\n" + "\n".join(lines) if lines else ""
