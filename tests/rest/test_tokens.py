"""Token authorization as clients and operators meet it: keys, scopes, expiry, rotation."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from conftest import ServerFactory
from harness.archives import build_archive
from harness.client import Answer, Connection, request
from harness.processes import wait_until
from harness.server import Server, free_ports

FLAGS = ("--ncs", "--enable-model-api")
TAIL = " failed. Token either incorrect, expired, or not provided correctly"


def key_file(server: Server) -> dict[str, dict[str, str]]:
    """The key file, parsed."""
    page: dict[str, dict[str, str]] = json.loads((server.working / "key_file.json").read_text())
    return page


def bearer(server: Server, kind: str) -> dict[str, str]:
    """The header that presents a key of the server."""
    return {"Authorization": f"Bearer {key_file(server)[kind]['key']}"}


def ask(port: int, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    return request(port, method, path, None, headers)


def assert_refused(answer: Answer, what: str = "Token Authorization") -> None:
    assert (answer.status, answer.phrase) == (400, "Bad Request")
    assert answer.json() == {
        "code": 400,
        "type": "InvalidKeyException",
        "message": what + TAIL,
    }


def wait_until_open(server: Server, port: int, headers: dict[str, str]) -> None:
    """Until a server that asks for tokens answers, and its model serves."""

    def serves() -> bool:
        assert server.is_running(), server.log()
        try:
            return ask(port, "POST", "/predictions/noop", headers).status == 200
        except OSError:  # it does not listen yet
            return False

    wait_until(serves, 60, "the server serves its model")


def wait_until_listening(server: Server) -> None:
    """Until the free routes are answered."""

    def answers() -> bool:
        assert server.is_running(), server.log()
        try:
            return ask(server.management_port, "OPTIONS", "/").status == 200
        except OSError:
            return False

    wait_until(answers, 60, "the server answers")


def log_files(server: Server) -> list[str]:
    """What all log files hold."""
    return [file.read_text() for file in (server.working / "logs").iterdir() if file.is_file()]


def wait_for_keys(server: Server) -> None:
    """Until the server has written its keys."""

    def is_written() -> bool:
        assert server.is_running(), server.log()
        return (server.working / "key_file.json").exists()

    wait_until(is_written, 60, "the keys are written")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with tokens, as it starts by default."""
    folder = tmp_path_factory.mktemp("guarded")
    archive = build_archive(folder / "store", "noop")
    server = Server(folder, models=[archive.name], flags=FLAGS)
    try:
        server.start(ready=False)
        wait_for_keys(server)
        wait_until_open(server, server.port, bearer(server, "inference"))
        yield server
    finally:
        server.stop()


def test_the_key_file(guarded: Server) -> None:
    file = guarded.working / "key_file.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    page = key_file(guarded)
    assert list(page) == ["management", "inference", "API"]
    assert set(page["API"]) == {"key"}
    for kind in ("management", "inference"):
        text = page[kind]["expiration time"].replace("Z", "+00:00")
        left = datetime.fromisoformat(text) - datetime.now(timezone.utc)
        assert timedelta(minutes=50) < left <= timedelta(minutes=60)


@pytest.mark.parametrize("path", ["/ping", "/predictions/noop", "/nothing", "/token", "/ping%zz"])
def test_the_inference_port_needs_the_inference_key(guarded: Server, path: str) -> None:
    assert_refused(ask(guarded.port, "POST", path))
    for kind in ("management", "API"):
        assert_refused(ask(guarded.port, "POST", path, bearer(guarded, kind)))
    answer = ask(guarded.port, "POST", path, bearer(guarded, "inference"))
    assert answer.status in (200, 404, 403), answer
    assert b"InvalidKeyException" not in answer.body


@pytest.mark.parametrize("path", ["/models", "/models/noop", "/nothing"])
def test_the_management_port_needs_the_management_key(guarded: Server, path: str) -> None:
    port = guarded.management_port
    assert_refused(ask(port, "GET", path))
    for kind in ("inference", "API"):
        assert_refused(ask(port, "GET", path, bearer(guarded, kind)))
    assert ask(port, "GET", path, bearer(guarded, "management")).status in (200, 404)


def test_descriptions_and_metrics_are_free(guarded: Server) -> None:
    for port in (guarded.port, guarded.management_port):
        assert ask(port, "OPTIONS", "/").status == 200
        assert ask(port, "GET", "/api-description").status == 200
    assert ask(guarded.metrics_port, "GET", "/metrics").status == 200


def test_how_the_header_may_be_written(guarded: Server) -> None:
    key = key_file(guarded)["inference"]["key"]
    for name, value, is_right in [
        ("authorization", f"Bearer {key}", True),
        ("AUTHORIZATION", f"Bearer   {key}", True),
        ("Authorization", f"bearer {key}", False),
        ("Authorization", f"Basic {key}", False),
        ("Authorization", key, False),
        ("Authorization", "Bearer", False),
        ("Authorization", f"Bearer {key} {key}", False),
    ]:
        answer = ask(guarded.port, "GET", "/ping", {name: value})
        assert (answer.status == 200) == is_right, (name, value)


def test_a_refused_request_ends_its_connection_before_its_body_is_read(guarded: Server) -> None:
    with Connection(guarded.port, timeout=10) as connection:
        answer = connection.request("POST", "/predictions/noop", bytes(3_000_000))
    assert_refused(answer)
    assert answer.headers["connection"] == "close"


def test_the_api_key_replaces_the_others(guarded: Server) -> None:
    port = guarded.management_port
    for kind, target, path in [
        ("inference", guarded.port, "/ping"),
        ("management", port, "/models"),
    ]:
        before, old = key_file(guarded), bearer(guarded, kind)
        answer = ask(port, "GET", f"/token?type={kind}", bearer(guarded, "API"))
        assert (answer.status, answer.body) == (200, b"\n")
        assert answer.headers["content-type"] == "application/json"
        after = key_file(guarded)
        assert {name for name in after if after[name] != before[name]} == {kind}
        assert_refused(ask(target, "GET", path, old))
        assert ask(target, "GET", path, bearer(guarded, kind)).status == 200
    assert stat.S_IMODE((guarded.working / "key_file.json").stat().st_mode) == 0o600


def test_new_keys_asked_for_at_once_do_not_undo_each_other(guarded: Server) -> None:
    api = bearer(guarded, "API")

    def renew(kind: str) -> int:
        return ask(guarded.management_port, "GET", f"/token?type={kind}", api).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(renew, ["inference", "management"] * 20)) == {200}
    assert ask(guarded.port, "GET", "/ping", bearer(guarded, "inference")).status == 200
    management = bearer(guarded, "management")
    assert ask(guarded.management_port, "GET", "/models", management).status == 200


def test_new_keys_need_the_api_key_and_a_type(guarded: Server) -> None:
    port, before = guarded.management_port, key_file(guarded)
    for query, kind in [
        ("?type=inference", "inference"),
        ("?type=inference", "management"),
        ("?type=API", "API"),
        ("?type=Inference", "API"),
        ("", "API"),
    ]:
        refused = ask(port, "GET", f"/token{query}", bearer(guarded, kind))
        assert_refused(refused, "Token Authentication")
    assert_refused(ask(port, "GET", "/token?type=inference"), "Token Authentication")
    assert key_file(guarded) == before


def test_only_the_path_of_new_keys_is_theirs(guarded: Server) -> None:
    headers = {**bearer(guarded, "management"), "X-Path": "/token"}
    answer = ask(guarded.management_port, "GET", "/models/tokenizer?x=/token", headers)
    assert answer.status == 404
    assert answer.message() == "Model not found: tokenizer"


def test_keys_are_in_no_log(guarded: Server) -> None:
    keys = [entry["key"] for entry in key_file(guarded).values()]
    ask(guarded.port, "GET", "/ping", bearer(guarded, "inference"))
    texts = [guarded.log(10**9)]
    texts += log_files(guarded)
    assert any("token authorization is on" in text for text in texts)
    for text in texts:
        assert not [key for key in keys if key in text]


def test_keys_expire(start_server: ServerFactory) -> None:
    server = start_server("noop", ready=False, flags=FLAGS, config={"token_expiration_min": "0.1"})
    wait_until_listening(server)
    # The first keys may be old already.
    path = "/token?type=inference"
    assert ask(server.management_port, "GET", path, bearer(server, "API")).status == 200
    fresh = bearer(server, "inference")
    assert ask(server.port, "GET", "/ping", fresh).status == 200

    def has_expired() -> bool:
        return ask(server.port, "GET", "/ping", fresh).status == 400

    wait_until(has_expired, 15, "the key has expired")
    assert_refused(ask(server.port, "GET", "/ping", fresh))


def test_on_a_shared_port_one_header_is_enough(start_server: ServerFactory) -> None:
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    server = start_server(
        "noop",
        ready=False,
        flags=FLAGS,
        config={"inference_address": address, "management_address": address},
    )
    wait_for_keys(server)
    inference, management = bearer(server, "inference"), bearer(server, "management")
    wait_until_open(server, port, inference)
    assert ask(port, "GET", "/models", management).status == 200
    assert_refused(ask(port, "GET", "/models", inference))
    assert_refused(ask(port, "POST", "/predictions/noop", management))
    assert ask(port, "GET", "/nothing", management).status == 404
    assert_refused(ask(port, "GET", "/nothing"))
    assert ask(port, "GET", "/token?type=inference", bearer(server, "API")).status == 200
    assert_refused(ask(port, "GET", "/ping", inference))


def test_tokens_of_the_operators_own(start_server: ServerFactory, tmp_path: Path) -> None:
    secret = tmp_path / "management-token"
    secret.write_text("from-a-file\n")
    server = start_server(
        "noop",
        ready=False,
        flags=FLAGS,
        environment={
            "TSERVE_INFERENCE_TOKEN": "from-the-environment",
            "TSERVE_MANAGEMENT_TOKEN_FILE": str(secret),
            "TSERVE_TOKEN": "of-the-client",
        },
    )
    inference = {"Authorization": "Bearer from-the-environment"}
    management = {"Authorization": "Bearer from-a-file"}
    wait_until_open(server, server.port, inference)
    assert ask(server.management_port, "GET", "/models", management).status == 200
    assert_refused(ask(server.management_port, "GET", "/models", inference))
    assert_refused(ask(server.port, "GET", "/ping", management))
    assert ask(server.port, "GET", "/ping", bearer(server, "inference")).status == 200
    described = ask(server.management_port, "GET", "/models/noop", management).json()
    assert isinstance(described, list)
    worker = Path(f"/proc/{described[0]['workers'][0]['pid']}/environ").read_bytes()
    for hidden in (b"from-the-environment", b"of-the-client", str(secret).encode()):
        assert hidden not in worker
    logs = [server.log(10**9), *log_files(server)]
    assert not [text for text in logs if "from-the-environment" in text or "from-a-file" in text]


def test_without_tokens_there_is_no_key_file_and_no_route(start_server: ServerFactory) -> None:
    server = start_server("noop")
    assert not (server.working / "key_file.json").exists()
    assert server.manage("GET", "/token?type=inference").status == 404
    assert server.get("/ping").status == 200
