"""The same traffic on both servers: the same metrics, with the same labels."""

from __future__ import annotations

from harness.metrics import families, scrape
from harness.pair import Pair
from harness.processes import wait_until
from harness.server import Server


def test_every_metric_of_torchserve_is_there_with_its_type_text_and_labels(pair: Pair) -> None:
    def use(server: Server) -> None:
        server.predict("echo", b"x")
        server.predict("version", b"x")
        server.predict("errors", b"raise")

    pair.both(use)

    def shown(server: Server) -> bool:
        text = scrape(server)
        marks = ("MemoryUsed{", "PredictionTime{", "Requests5XX{", "WorkerThreadTime{")
        return all(mark in text for mark in marks)

    for server in (pair.ours, pair.theirs):
        wait_until(lambda server=server: shown(server), 60, "all kinds of metrics")
    ours, theirs = (families(scrape(server)) for server in (pair.ours, pair.theirs))
    assert len(theirs) >= 20
    assert {name: ours.get(name) for name in theirs} == theirs
    assert set(ours) == set(theirs)
