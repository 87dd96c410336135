"""Reading metrics and the header that says where the time of a request went."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from . import client
from .processes import wait_until
from .server import Server

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def scrape(server: Server, path: str = "/metrics") -> str:
    answer = client.request(server.metrics_port, "GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.text


def samples(text: str) -> Samples:
    """Values by name of the sample, then by labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name
            if f"\n{name}{{" not in text:
                # The parser gives counters the suffix that OpenMetrics wants.
                name = name.removesuffix("_total")
            found.setdefault(name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def families(text: str) -> dict[str, tuple[str, str, list[list[str]]]]:
    """Type, text and the names of the labels, by name of the family."""
    found = {}
    for family in text_string_to_metric_families(text):
        labels = {tuple(sorted(sample.labels)) for sample in family.samples}
        found[family.name] = family.type, family.documentation, sorted(map(list, labels))
    return found


def total(found: Samples, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for key, value in found.get(name, {}).items() if wanted <= set(key))


def settled(server: Server, path: str, name: str, value: float, **labels: str) -> Samples:
    """The samples once one of them has the value that it is to have."""

    def has_value() -> bool:
        return total(samples(scrape(server, path)), name, **labels) == value

    wait_until(has_value, 20, f"{name}{labels} is {value}")
    return samples(scrape(server, path))


def timing(answer: client.Answer) -> dict[str, float]:
    """Milliseconds by name of the part."""
    parts = [part.strip() for part in answer.headers["server-timing"].split(",")]
    return {part.split(";")[0]: float(re.findall(r";dur=([\d.]+)", part)[0]) for part in parts}
