"""A gRPC client: registers a model, asks it, removes it.

The stubs have to be in the same folder, or on PYTHONPATH; README.md says how to make them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import grpc

try:
    import inference_pb2
    import inference_pb2_grpc
    import management_pb2
    import management_pb2_grpc
except ImportError as error:
    sys.exit(f"{error}\nhint: make the stubs first, see README.md beside this file")


def metadata(variable: str) -> list[tuple[str, str]]:
    """The token that the server asks for, from the environment."""
    token = os.environ.get(variable)
    return [("authorization", f"Bearer {token}")] if token else []


def channel(address: str, certificate: Path | None) -> grpc.Channel:
    # Predictions may be larger than the 4 MiB that grpcio takes by default.
    options = [("grpc.max_receive_message_length", -1)]
    if certificate:
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        return grpc.secure_channel(address, credentials, options)
    return grpc.insecure_channel(address, options)


def infer(options: argparse.Namespace) -> None:
    with channel(options.inference, options.certificate) as connection:
        stub = inference_pb2_grpc.InferenceAPIsServiceStub(connection)
        request = inference_pb2.PredictionsRequest(
            model_name=options.model, input={"data": options.file.read_bytes()}
        )
        meta = metadata("TSERVE_INFERENCE_TOKEN")
        if options.stream:
            parts = stub.StreamPredictions(request, timeout=options.timeout, metadata=meta)
        else:
            parts = [stub.Predictions(request, timeout=options.timeout, metadata=meta)]
        for part in parts:
            print(part.prediction.decode(errors="replace"), flush=True)


def register(options: argparse.Namespace) -> None:
    with channel(options.management, options.certificate) as connection:
        stub = management_pb2_grpc.ManagementAPIsServiceStub(connection)
        request = management_pb2.RegisterModelRequest(
            url=options.url or f"{options.model}.mar",
            model_name=options.model,
            initial_workers=1,
            synchronous=True,
        )
        meta = metadata("TSERVE_MANAGEMENT_TOKEN")
        print(stub.RegisterModel(request, timeout=options.timeout, metadata=meta).msg)


def unregister(options: argparse.Namespace) -> None:
    with channel(options.management, options.certificate) as connection:
        stub = management_pb2_grpc.ManagementAPIsServiceStub(connection)
        request = management_pb2.UnregisterModelRequest(model_name=options.model)
        meta = metadata("TSERVE_MANAGEMENT_TOKEN")
        print(stub.UnregisterModel(request, timeout=options.timeout, metadata=meta).msg)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inference", default="localhost:7070", help="host:port")
    parser.add_argument("--management", default="localhost:7071", help="host:port")
    parser.add_argument("--certificate", type=Path, help="PEM file to trust; uses TLS")
    parser.add_argument("--timeout", type=float, default=120, help="seconds")
    commands = parser.add_subparsers(required=True)
    for run, text in [
        (register, "register a model and start a worker"),
        (infer, "send a file and print the prediction"),
        (unregister, "remove a model"),
    ]:
        command = commands.add_parser(run.__name__, help=text)
        command.set_defaults(run=run)
        command.add_argument("model", help="its name")
        if run is register:
            command.add_argument("url", nargs="?", help="archive; by default MODEL.mar")
        if run is infer:
            command.add_argument("file", type=Path)
            command.add_argument("--stream", action="store_true", help="print parts as they come")
    options = parser.parse_args()
    try:
        options.run(options)
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")


if __name__ == "__main__":
    main()
