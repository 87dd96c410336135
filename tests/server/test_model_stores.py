"""Where models come from: the store, web servers and object stores, over real sockets."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from harness.archives import build_archive
from harness.client import Answer, request
from harness.files import FileServer, file_server
from harness.processes import kill, wait_until
from harness.server import Server, free_ports

BUCKET = "model-bucket"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}


@pytest.fixture
def files() -> Iterator[FileServer]:
    with file_server() as served:
        yield served


@pytest.fixture(scope="module")
def noop(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return build_archive(tmp_path_factory.mktemp("noop") / "made", "noop").read_bytes()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The S3 server of moto, with an empty bucket."""
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:

        def is_there() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return request(port, "PUT", f"/{BUCKET}", timeout=5).status in (200, 409)
            except (OSError, http.client.HTTPException):
                return False

        wait_until(is_there, 60, "moto answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        kill(process.pid)
        process.wait(timeout=10)


def put(endpoint: str, key: str, content: bytes) -> None:
    port = int(endpoint.rpartition(":")[2])
    assert request(port, "PUT", f"/{BUCKET}/{key}", content).status == 200


def register(server: Server, url: str, **parameters: object) -> Answer:
    query = urlencode({"url": url, "initial_workers": 1, **parameters})
    return server.manage("POST", f"/models?{query}")


def stored(server: Server) -> list[str]:
    return sorted(path.name for path in server.store.iterdir())


def unpacked(server: Server) -> list[Path]:
    return list(server.temporary.glob("tserve-*/models/*"))


def pin(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# --- S3 -------------------------------------------------------------------------------------------


def test_models_come_from_s3(start_server, s3: str, noop: bytes) -> None:
    put(s3, "some/folder/noop.mar", noop)
    put(s3, "start.mar", noop)
    server: Server = start_server(
        models=[f"first=s3://{BUCKET}/start.mar#{pin(noop)}"],
        config={"allowed_urls": f"s3://{BUCKET}/.*,https://.*"},
        environment={**KEYS, "AWS_ENDPOINT_URL": s3},
    )
    assert server.predict("first").body == b"ok"

    url = f"s3://{BUCKET}/some/folder/noop.mar"
    assert register(server, url, checksum=pin(noop)).status == 200
    assert server.predict("noop").body == b"ok"
    assert server.describe("noop")["modelUrl"] == url
    assert stored(server) == ["noop.mar", "start.mar"]
    assert server.manage("DELETE", "/models/noop").status == 200
    assert stored(server) == ["start.mar"]

    # The https URL of the same object, as TorchServe fetches it with s3_sse_kms.
    https = f"https://{BUCKET}.s3.eu-west-1.amazonaws.com/some/folder/noop.mar"
    assert register(server, https, s3_sse_kms="true").status == 200
    assert server.manage("DELETE", "/models/noop").status == 200

    absent = register(server, f"s3://{BUCKET}/absent.mar")
    assert absent.status == 400
    assert absent.message() == (
        f"Failed to download archive from: s3://{BUCKET}/absent.mar: there is no such object"
    )
    foreign = register(server, "s3://other-bucket/noop.mar")
    assert foreign.status == 404
    wrong = register(server, url, checksum="sha256:" + "0" * 64)
    assert (wrong.status, wrong.message()) == (
        400,
        f"Checksum of {url} is {pin(noop)}, not sha256:{'0' * 64}",
    )
    assert stored(server) == ["start.mar"]


CLOUDS = {
    "s3": (
        "s3://models/a/noop.mar",
        "/models/a/noop.mar",
        {**KEYS, "AWS_SESSION_TOKEN": "session"},
        "AWS_ENDPOINT_URL_S3",
        "AWS4-HMAC-SHA256 Credential=key/",
    ),
    "gs": (
        "gs://models/a/noop.mar",
        "/models/a/noop.mar",
        {"GOOGLE_BEARER_TOKEN": "token"},
        "GOOGLE_BASE_URL",
        "Bearer token",
    ),
    "az": (
        "az://models/a/noop.mar",
        "/account/models/a/noop.mar",
        {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"},
        "AZURE_STORAGE_ENDPOINT",
        "SharedKey account:",
    ),
}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_object_stores_are_asked_with_credentials(
    start_server, files: FileServer, noop: bytes, cloud: str
) -> None:
    url, path, environment, endpoint, credential = CLOUDS[cloud]
    files.files[path] = noop
    base = files.url("/account" if cloud == "az" else "")
    server: Server = start_server(
        config={"allowed_urls": f"{cloud}://models/.*"},
        environment={**environment, endpoint: base},
    )
    answer = register(server, url, initial_workers=0)
    assert answer.status == 200, answer.text
    assert files.asked[-1].headers["authorization"].startswith(credential)
    assert register(server, url.replace("noop", "none"), initial_workers=0).status == 400
    # Not allowed: as in TorchServe this means noop.mar in the store, which is registered already.
    assert register(server, url.replace("models", "elsewhere")).status == 409


# --- web servers ----------------------------------------------------------------------------------


def test_a_download_that_breaks_is_resumed(start_server, files: FileServer) -> None:
    archive = large_archive(2_000_000)
    files.files["/large.mar"] = archive
    files.breaks["/large.mar"] = [500_000, 700_000]
    server: Server = start_server()
    answer = register(server, files.url("/large.mar"), checksum=pin(archive))
    assert answer.status == 200, answer.text
    assert server.predict("large").body == b"ok"
    ranges = [asked.headers.get("range") for asked in files.asked]
    assert ranges == [None, "bytes=500000-", "bytes=1200000-"]
    log = server.log()
    assert f'fetching an archive url="{files.url("/large.mar")}" total_bytes=' in log
    assert "a download broke; it is resumed" in log


def test_a_download_that_stalls_is_given_up(start_server, files: FileServer, noop: bytes) -> None:
    files.files["/noop.mar"] = noop
    files.stalls["/noop.mar"] = 0
    server: Server = start_server(config={"download_stall_timeout": 1})
    answer = register(server, files.url("/noop.mar"))
    assert answer.status == 400
    assert answer.message().startswith("Failed to download archive from: http://127.0.0.1")
    assert stored(server) == []


def test_addresses_of_the_cloud_itself_are_out_of_reach(
    start_server, files: FileServer, noop: bytes
) -> None:
    files.files["/noop.mar"] = noop
    files.redirects["/to-metadata.mar"] = "http://169.254.169.254/latest/meta-data/x.mar"
    files.redirects["/to-file.mar"] = "file:///etc/passwd"
    files.redirects["/to-noop.mar"] = "/noop.mar"
    server: Server = start_server()
    direct = register(server, "http://169.254.169.254/latest/meta-data/x.mar")
    assert direct.status == 404
    assert direct.message().endswith(
        "does not match any allowed URL(s): it leads to 169.254.169.254, a link-local or other "
        "special address"
    )
    for name in ("to-metadata", "to-file"):
        answer = register(server, files.url(f"/{name}.mar"))
        assert answer.status == 400, answer.text
        assert ": it redirects to " in answer.message()
    assert register(server, files.url("/to-noop.mar")).status == 200
    assert stored(server) == ["to-noop.mar"]


def test_private_addresses_can_be_forbidden(start_server, files: FileServer, noop: bytes) -> None:
    files.files["/noop.mar"] = noop
    server: Server = start_server(config={"allow_private_urls": "false"})
    for host in ("127.0.0.1", "localhost"):
        answer = register(server, f"http://{host}:{files.port}/noop.mar")
        assert answer.status == 404, answer.text
    assert files.asked == []
    named: Server = start_server(
        config={"allow_private_urls": "false", "allowed_urls": "http://localhost:.*"}
    )
    assert register(named, f"http://localhost:{files.port}/noop.mar").status == 200


def test_a_download_may_be_no_larger_than_configured(start_server, files: FileServer) -> None:
    files.files["/large.mar"] = large_archive(300_000)
    server: Server = start_server(config={"max_download_size": 200_000})
    answer = register(server, files.url("/large.mar"))
    assert answer.status == 400
    assert answer.message().endswith(
        ": the archive is larger than 200000 bytes, which is max_download_size"
    )
    assert stored(server) == []


# --- what is left ---------------------------------------------------------------------------------


def test_a_killed_server_leaves_no_half_archive(
    start_server, files: FileServer, noop: bytes
) -> None:
    files.files["/noop.mar"] = noop
    files.stalls["/noop.mar"] = len(noop) // 2
    server: Server = start_server()
    query = urlencode({"url": files.url("/noop.mar")})
    waiting = http.client.HTTPConnection("127.0.0.1", server.management_port, timeout=30)
    waiting.request("POST", f"/models?{query}")
    wait_until(lambda: stored(server), 20, "the download has begun")
    (partial,) = stored(server)
    assert partial.startswith(".")
    assert server.process is not None
    kill(server.process.pid)
    server.process.wait(timeout=20)
    waiting.close()
    wait_until(lambda: not server.processes(), 15, "workers and janitor are gone")
    assert stored(server) == [partial]

    server.models = ["all"]
    server.start()
    assert server.model_names() == []
    assert stored(server) == []
    del files.stalls["/noop.mar"]
    assert register(server, files.url("/noop.mar")).status == 200


def test_what_a_killed_server_had_fetched_can_be_registered_again(
    start_server, files: FileServer, noop: bytes
) -> None:
    files.files["/noop.mar"] = noop
    server: Server = start_server()
    try:
        os.setxattr(server.store, "user.tserve.test", b"")
    except OSError as error:
        pytest.skip(f"files have no attributes here: {error}")
    assert register(server, files.url("/noop.mar")).status == 200
    assert server.process is not None
    kill(server.process.pid)
    server.process.wait(timeout=20)
    wait_until(lambda: not server.processes(), 15, "workers and janitor are gone")
    assert stored(server) == ["noop.mar"]
    server.start()
    assert register(server, files.url("/noop.mar")).status == 200
    again = register(server, files.url("/noop.mar"))
    assert (again.status, again.message()) == (500, "Model file already exists noop.mar")
    assert server.manage("DELETE", "/models/noop").status == 200
    assert stored(server) == []


def test_an_archive_is_unpacked_once_and_goes_with_its_model(start_server) -> None:
    server: Server = start_server({"name": "noop", "settings": {"minWorkers": 3}})
    assert len(server.worker_pids("noop")) == 3
    (folder,) = unpacked(server)
    assert server.manage("DELETE", "/models/noop").status == 200
    assert not folder.exists()
    assert register(server, "noop.mar").status == 200
    assert len(unpacked(server)) == 1
    assert register(server, "noop.mar").status == 409
    assert len(unpacked(server)) == 1


def test_a_model_serves_on_when_the_store_disappears(start_server, files: FileServer) -> None:
    server: Server = start_server("noop")
    server.store.rename(server.store.with_name("gone"))
    assert server.predict("noop").body == b"ok"
    for url in ("other.mar", files.url("/other.mar")):
        files.files["/other.mar"] = b"x"
        answer = register(server, url)
        assert answer.status == 500, answer.text
        assert "No such file or directory" in answer.message()
    assert server.model_names() == ["noop"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte, where the tests may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tserve-test", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except OSError as error:
        pytest.skip(f"cannot mount a small disk: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], timeout=20, check=True)


def test_a_full_disk_is_said_to_be_full(
    tmp_path: Path, small_disk: Path, files: FileServer, noop: bytes
) -> None:
    files.files |= {"/large.mar": large_archive(3_000_000), "/noop.mar": noop}
    (tmp_path / "server").mkdir()
    (tmp_path / "server/store").symlink_to(small_disk)
    server = Server(tmp_path / "server").start()
    try:
        answer = register(server, files.url("/large.mar"))
        assert answer.status == 500
        assert answer.message().startswith("Failed to save model: http://127.0.0.1")
        assert "the model store's disk has" in answer.message()
        # Copied without knowing what is free: the write itself fails.
        (small_disk / "filler").write_bytes(bytes(900_000))
        archive = tmp_path / "large.mar"
        archive.write_bytes(large_archive(1_000_000))
        answer = register(server, f"file://{archive}")
        assert answer.status == 500, answer.text
        assert stored(server) == ["filler"]
        assert server.model_names() == []
        assert register(server, files.url("/noop.mar")).status == 200
        assert server.predict("noop").body == b"ok"
    finally:
        server.stop()


def test_a_model_that_finds_no_room_to_unpack_leaves_nothing(
    tmp_path: Path, small_disk: Path
) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server/tmp").symlink_to(small_disk)
    server = Server(tmp_path / "server")
    (server.store / "large.mar").write_bytes(large_archive(3_000_000))
    server.start()
    try:
        answer = register(server, "large.mar")
        assert answer.status == 500
        assert answer.message().startswith("Failed to save model: large.mar: ")
        assert "No space left on device" in answer.message()
        assert unpacked(server) == []
        assert server.model_names() == []
    finally:
        server.stop()


def large_archive(size: int) -> bytes:
    """An archive of model `large` that holds so many bytes that do not compress."""
    manifest = {"runtime": "python", "model": {"modelName": "large", "handler": "handler.py"}}
    handler = (
        "def handle(data, context):\n    return None if data is None else ['ok'] * len(data)\n"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("handler.py", handler)
        archive.writestr("weights.bin", os.urandom(size))
    return buffer.getvalue()
