"""The services that tools expect of every gRPC server: health and reflection."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ServerFactory

from .conftest import Connect, refused

health_pb = pytest.importorskip("grpc_health.v1.health_pb2")
health_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
reflection_client = pytest.importorskip(
    "grpc_reflection.v1alpha.proto_reflection_descriptor_database"
)
descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool")

PACKAGE = "org.pytorch.serve.grpc"
INFERENCE = f"{PACKAGE}.inference.InferenceAPIsService"
MANAGEMENT = f"{PACKAGE}.management.ManagementAPIsService"
SERVING, NOT_SERVING = 1, 2
SERVICE_UNKNOWN = 3


def test_health_follows_models(
    start_server: ServerFactory, connect: Connect, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    server = start_server("gated", ready=False, environment={"GATE": str(gate)})
    client = connect(server)

    def check(channel: int, name: str) -> int:
        stub = health_grpc.HealthStub(client.channels[channel])
        request = health_pb.HealthCheckRequest(service=name)
        status: int = stub.Check(request, timeout=20, wait_for_ready=True).status
        return status

    watching = health_grpc.HealthStub(client.channels[0]).Watch(
        health_pb.HealthCheckRequest(service="gated"), timeout=60, wait_for_ready=True
    )
    unknown = health_grpc.HealthStub(client.channels[0]).Watch(
        health_pb.HealthCheckRequest(service="no"), timeout=60, wait_for_ready=True
    )
    assert next(watching).status in (NOT_SERVING, SERVICE_UNKNOWN)
    assert next(unknown).status == SERVICE_UNKNOWN
    for channel, name in [(0, ""), (1, ""), (0, INFERENCE), (1, MANAGEMENT)]:
        assert check(channel, name) == NOT_SERVING
    with refused("NOT_FOUND", "Model not found: no"):
        check(0, "no")
    gate.touch()
    while next(watching).status != SERVING:
        pass
    for name in ("", INFERENCE, "gated"):
        assert check(0, name) == SERVING
    # A stopping server says so, and ends the call.
    server.terminate()
    assert [status.status for status in watching] == [NOT_SERVING]
    assert watching.code().name == "OK"


def test_reflection_describes_each_port(start_server: ServerFactory, connect: Connect) -> None:
    client = connect(start_server())
    common = {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    for channel, own in zip(client.channels, (INFERENCE, MANAGEMENT), strict=True):
        database = reflection_client.ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == {own, *common}
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName(own)
        kind = own.rpartition(".")[2].removesuffix("APIsService")
        ours = getattr(connect.stubs, f"{kind.lower()}_pb2").DESCRIPTOR.services_by_name
        expected = ours[service.name].methods_by_name
        assert list(service.methods_by_name) == list(expected)
    message = pool.FindMessageTypeByName(f"{PACKAGE}.management.RegisterModelRequest")
    assert message.fields_by_name["startup_timeout"].number == 11


def test_reflection_in_its_newer_version(start_server: ServerFactory, connect: Connect) -> None:
    # The same messages under another name; grpcio has stubs of the older one only.
    older = pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2")
    channel = connect(start_server()).channels[0]
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=older.ServerReflectionRequest.SerializeToString,
        response_deserializer=older.ServerReflectionResponse.FromString,
    )
    answers = list(call(iter([older.ServerReflectionRequest(list_services="")]), timeout=20))
    assert INFERENCE in {service.name for service in answers[0].list_services_response.service}
