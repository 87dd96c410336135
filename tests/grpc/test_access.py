"""Who may: tokens and TLS; and what the access log says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import grpc
import pytest
from conftest import ServerFactory
from harness.processes import wait_until
from harness.server import Server

from .conftest import Connect, refused

FAILED = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"


def bearer(server: Server, kind: str) -> list[tuple[str, str]]:
    keys = json.loads((server.working / "key_file.json").read_text())
    return [("authorization", f"Bearer {keys[kind]['key']}")]


def test_tokens(start_server: ServerFactory, connect: Connect) -> None:
    from google.protobuf import empty_pb2

    server = start_server("rpc", ready=False, flags=("--ncs", "--enable-model-api"))
    wait_until(lambda: "Model server started" in server.log(), 60, "it has started")
    client = connect(server)
    ping, predictions = client.inference.Ping, client.inference.Predictions
    request = client.request("rpc", {"answer": "ok"})
    listing = client.management_pb.ListModelsRequest(limit=5)
    wrong = [
        None,
        [("authorization", "Bearer nonsense")],
        [("authorization", "bearer " + bearer(server, "inference")[0][1].split()[1])],
        bearer(server, "management"),
        bearer(server, "API"),
    ]
    for metadata in wrong:
        with refused("PERMISSION_DENIED", FAILED):
            ping(empty_pb2.Empty(), metadata=metadata, timeout=20)
        with refused("PERMISSION_DENIED", FAILED):
            predictions(request, metadata=metadata, timeout=20)
        with refused("PERMISSION_DENIED", FAILED):
            list(client.inference.StreamPredictions(request, metadata=metadata, timeout=20))
    mine = bearer(server, "inference")
    assert ping(empty_pb2.Empty(), metadata=mine, timeout=20).health
    assert predictions(request, metadata=mine, timeout=30).prediction == b"ok"
    with refused("PERMISSION_DENIED", FAILED):
        client.management.ListModels(listing, metadata=mine, timeout=20)
    said = client.management.ListModels(listing, metadata=bearer(server, "management"), timeout=20)
    assert "rpc" in said.msg


def test_probes_need_no_token(start_server: ServerFactory, connect: Connect) -> None:
    health_pb = pytest.importorskip("grpc_health.v1.health_pb2")
    health_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
    client = connect(start_server(ready=False, flags=("--ncs",)))
    for channel in client.channels:
        stub = health_grpc.HealthStub(channel)
        request = health_pb.HealthCheckRequest()
        assert stub.Check(request, timeout=30, wait_for_ready=True).status in (1, 2)


def test_tls(
    start_server: ServerFactory, connect: Connect, key_and_certificate: tuple[Path, Path]
) -> None:
    key, certificate = key_and_certificate
    files = {"private_key_file": key, "certificate_file": certificate}
    server = start_server("rpc", config={"enable_grpc_ssl": "true", **files})
    trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
    client = connect(server, trusted)
    assert client.predict("rpc", {"size": 1_000_000}) == b"x" * 1_000_000
    assert json.loads(client.manage("ListModels", limit=1))["models"]
    for stranger in (connect(server), connect(server, grpc.ssl_channel_credentials())):
        with refused("UNAVAILABLE"):
            stranger.predict("rpc", {"answer": "no"}, timeout=10)


def test_calls_are_in_the_access_log(start_server: ServerFactory, connect: Connect) -> None:
    server = start_server("rpc")
    client = connect(server)
    client.predict("rpc", {"answer": "ok"})
    with refused("INTERNAL"):
        client.predict("no")
    list(client.inference.StreamPredictions(client.request("rpc", {"parts": 1}), timeout=20))
    client.manage("ListModels", limit=1)
    package = r"org\.pytorch\.serve\.grpc"
    inference = rf"{package}\.inference\.InferenceAPIsService"
    for line in (
        rf'/127\.0\.0\.1:\d+ "gRPC {inference}/Predictions HTTP/2\.0" 0 \d+',
        rf'/127\.0\.0\.1:\d+ "gRPC {inference}/Predictions HTTP/2\.0" 13 \d+',
        rf'/127\.0\.0\.1:\d+ "gRPC {inference}/StreamPredictions HTTP/2\.0" 0 \d+',
        rf'/127\.0\.0\.1:\d+ "gRPC {package}\.management\.ManagementAPIsService/ListModels',
    ):
        wait_until(lambda line=line: re.search(line, server.log_file("access_log.log")), 10, line)
