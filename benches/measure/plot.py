"""The results as a picture. Runs in the environment that has matplotlib.

.bench/tools/bin/python benches/measure/plot.py RESULTS.json PICTURE.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# Instead of this folder, whose modules have names that others may have too.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measure.results import FLOOR, OURS, Results

PANELS = (
    ("throughput, requests/s", "rps", 1.0),
    ("p99, ms", "p99_us", 1e-3),
    ("CPU, us per request, all processes", "cpu_us", 1.0),
    ("memory, MiB (PSS, all processes)", "pss_mib", 1.0),
)
GROUPS = (
    ("noop", 1, "no-op\n1 conn."),
    ("noop", 64, "no-op\n64 conn."),
    ("noopb", 64, "no-op batched\n64 conn."),
    ("mlp", 64, "MLP from JSON\n64 conn."),
    ("tensor", 16, "1 MiB tensor\n16 conn."),
)
COLOURS = {OURS: "#d1495b", FLOOR: "#c9c9c9"}
PEERS = ("#2e4057", "#66a182", "#edae49", "#8d96a3", "#7768ae")


def draw(results: Results, file: Path) -> None:
    """Bars on a logarithmic scale: one panel per figure, one group per workload."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    servers = sorted(results.servers(), key=lambda name: (name != OURS, name == FLOOR))
    colours = dict(zip((name for name in servers if name not in COLOURS), PEERS, strict=False))
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 7.5), layout="constrained")
    for axis, (title, key, scale) in zip(axes.flat, PANELS, strict=True):
        _panel(axis, results, servers, key, scale, {**colours, **COLOURS})
        axis.set_title(title, loc="left", fontweight="bold")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False)
    figure.savefig(file, dpi=110)


def _panel(
    axis: Any, results: Results, servers: list[str], key: str, scale: float, colours: dict[str, str]
) -> None:
    width = 0.85 / max(1, len(servers))
    for position, server in enumerate(servers):
        for group, (workload, connections, _) in enumerate(GROUPS):
            value = results.median(server, workload, connections, key)
            label = server if group == 0 else None
            place = group + (position - (len(servers) - 1) / 2) * width
            bars = axis.bar(
                place, (value or 0) * scale, width * 0.92, color=colours[server], label=label
            )
            if value is not None:
                axis.bar_label(bars, [_short(value * scale)], fontsize=6.5, padding=1)
    axis.set_yscale("log")
    axis.set_xticks(range(len(GROUPS)), [name for _, _, name in GROUPS], fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(y=0.12)


def _short(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1e3:.0f}k"
    if value >= 1_000:
        return f"{value / 1e3:.1f}k"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


if __name__ == "__main__":
    draw(Results.load(Path(sys.argv[1])), Path(sys.argv[2]))
