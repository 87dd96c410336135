"""Locust users for any server with TorchServe's inference API.

    locust -f benches/locustfile.py --host http://127.0.0.1:8080 --model noop --body body.bin

Without `--headless --users 20 --run-time 30s` it offers its web page on port 8089. Locust is a
closed loop with think time, written in Python: good for scenarios of users, not for the limits of
the server (`make bench`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant_throughput, events, task


@events.init_command_line_parser.add_listener
def add_arguments(parser: argparse.ArgumentParser, **_: Any) -> None:
    group = parser.add_argument_group("inference")
    group.add_argument("--model", default="noop", help="name of a registered model")
    group.add_argument("--model-version", default="", help="its version; the default one if empty")
    group.add_argument("--body", default="", help="file to send; 1 KiB of zeros if empty")
    group.add_argument("--content-type", default="application/octet-stream")
    group.add_argument("--expect", default="", help="text that every answer must be")
    group.add_argument("--token", default="", help="inference key, where the server asks for one")
    group.add_argument("--per-user", type=float, default=10, help="requests per second and user")


class InferenceUser(FastHttpUser):
    """Sends the same request again and again, and checks the answers."""

    def wait_time(self) -> float:
        """Keeps the rate of `--per-user`, whatever the answers take."""
        return float(constant_throughput(self.environment.parsed_options.per_user)(self))

    def on_start(self) -> None:
        options = self.environment.parsed_options
        version = f"/{options.model_version}" if options.model_version else ""
        self.path = f"/predictions/{options.model}{version}"
        self.body = Path(options.body).read_bytes() if options.body else bytes(1024)
        self.fields = {"Content-Type": options.content_type}
        if options.token:
            self.fields["Authorization"] = f"Bearer {options.token}"
        self.expected = options.expect.encode()

    @task
    def predict(self) -> None:
        with self.client.post(
            self.path, data=self.body, headers=self.fields, catch_response=True
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
            elif self.expected and answer.content != self.expected:
                answer.failure("another answer than expected")
