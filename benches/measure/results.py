"""The file that every measurement is kept in, and medians over it."""

from __future__ import annotations

import datetime
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import machine
from measure.load import NOISY_CORES

Row = dict[str, Any]
OURS = "tserve"
FLOOR = "floor"


class Results:
    """Measurements of one machine; each command adds its own section."""

    def __init__(self, data: Row | None = None) -> None:
        self.data: Row = data or {
            "machine": machine.facts(),
            "servers": {},
            "left_out": {},
            "cells": [],
            "failures": [],
            "open": [],
            "idle": [],
            "scaling": [],
            "observed": [],
        }

    @classmethod
    def load(cls, file: Path) -> Results:
        """Reads a file; an absent one is empty."""
        return cls(json.loads(file.read_text()) if file.exists() else None)

    def save(self, file: Path) -> None:
        """Writes it so that a reader never sees half of it."""
        today = datetime.date.today().isoformat()
        self.data["dates"] = sorted({*self.data.get("dates", []), today})
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(self._text())
        os.replace(unfinished, file)

    def _text(self) -> str:
        """JSON with one measurement per line, so that versions can be compared."""
        sections = []
        for name, value in self.data.items():
            lines = json.dumps(value)
            if isinstance(value, list) and value:
                lines = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
            sections.append(f" {json.dumps(name)}: {lines}")
        return "{\n" + ",\n".join(sections) + "\n}\n"

    def next_round(self) -> int:
        """The number of the first round that is not in it."""
        return 1 + max((cell["round"] for cell in self.data["cells"]), default=0)

    def servers(self) -> list[str]:
        """Names, in the order of the tables."""
        return list(self.data["servers"])

    def peers(self) -> list[str]:
        """The servers that are neither ours nor the floor."""
        peers: list[str] = [
            name for name, about in self.data["servers"].items() if about["is_peer"]
        ]
        return peers

    def cells(self, server: str, workload: str, connections: int) -> list[Row]:
        """The rounds of one figure; the disturbed ones only when there are no others."""
        key = (server, workload, connections)
        found = [
            cell
            for cell in self.data["cells"]
            if (cell["server"], cell["workload"], cell["connections"]) == key
        ]
        return [cell for cell in found if cell["other_cores"] < NOISY_CORES] or found

    def median(self, server: str, workload: str, connections: int, key: str) -> float | None:
        values = [cell[key] for cell in self.cells(server, workload, connections)]
        return statistics.median(values) if values else None

    def ratio(self, server: str, workload: str, connections: int, key: str) -> float | None:
        """Ours over theirs: the median over the rounds that both were measured in."""
        theirs = {cell["round"]: cell for cell in self.cells(server, workload, connections)}
        ratios = [
            cell[key] / theirs[cell["round"]][key]
            for cell in self.cells(OURS, workload, connections)
            if cell["round"] in theirs and theirs[cell["round"]][key]
        ]
        return statistics.median(ratios) if ratios else None

    def best_peer(
        self,
        workload: str,
        connections: int,
        key: str,
        best: Callable[..., tuple[float, str]] = max,
    ) -> tuple[float, str] | None:
        """The best median of a figure among the peers, and whose it is."""
        found = [
            (value, peer)
            for peer in self.peers()
            if (value := self.median(peer, workload, connections, key)) is not None
        ]
        return best(found) if found else None
