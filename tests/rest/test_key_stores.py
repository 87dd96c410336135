"""https from Java key stores, from PKCS#12 files of OpenSSL, and without any certificate."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from conftest import ServerFactory
from harness.processes import wait_until
from harness.server import Server, free_ports

PASSWORD = "correct horse"


def run(*words: object) -> None:
    """Runs a tool that makes a store."""
    subprocess.run(list(map(str, words)), check=True, capture_output=True, timeout=60)


def by_keytool(folder: Path, kind: str, *more: str) -> tuple[Path, Path]:
    """A key store with a key pair and, beside it, its certificate as PEM."""
    if not shutil.which("keytool"):
        pytest.skip("needs keytool, which comes with Java")
    store, certificate = folder / f"store.{kind}", folder / "certificate.pem"
    common = ("-keystore", store, "-storepass", PASSWORD, "-alias", "server")
    run(
        *("keytool", "-genkeypair", *common, "-storetype", kind, *more),
        *("-keyalg", "RSA", "-keysize", "2048", "-validity", "2", "-dname", "CN=localhost"),
        *("-ext", "SAN=dns:localhost,ip:127.0.0.1"),
    )
    run("keytool", "-exportcert", "-rfc", *common, "-file", certificate)
    return store, certificate


def by_openssl(folder: Path, *more: str) -> tuple[Path, Path]:
    """A PKCS#12 file and its certificate as PEM."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command")
    key, certificate, store = (folder / name for name in ("key.pem", "certificate.pem", "s.p12"))
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
    )
    run(
        *("openssl", "pkcs12", "-export", "-inkey", key, "-in", certificate, "-out", store),
        *("-name", "server", "-passout", f"pass:{PASSWORD}", *more),
    )
    return store, certificate


STORES: dict[str, tuple[str, Callable[[Path], tuple[Path, Path]]]] = {
    "keytool JKS": ("JKS", lambda folder: by_keytool(folder, "JKS")),
    "keytool PKCS12": ("PKCS12", lambda folder: by_keytool(folder, "PKCS12")),
    "openssl": ("pkcs12", by_openssl),
    "openssl, said to be JKS": ("JKS", by_openssl),
}


def https_server(start_server: ServerFactory, **config: object) -> tuple[Server, str]:
    """A server with https inference that listens, and its URL."""
    (port,) = free_ports(1)
    server = start_server(
        ready=False, config={"inference_address": f"https://127.0.0.1:{port}", **config}
    )

    def listens() -> bool:
        assert server.is_running(), server.log()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            return False
        return True

    wait_until(listens, 30, "the port is open")
    return server, f"https://127.0.0.1:{port}"


@pytest.mark.parametrize("kind", STORES)
def test_a_key_store_is_used(start_server: ServerFactory, tmp_path: Path, kind: str) -> None:
    name, make = STORES[kind]
    store, certificate = make(tmp_path)
    server, url = https_server(
        start_server, keystore=store, keystore_pass=PASSWORD, keystore_type=name
    )
    answer = requests.get(f"{url}/ping", verify=str(certificate), timeout=20)
    assert answer.json() == {"status": "Healthy"}
    assert PASSWORD not in server.log()


def test_without_a_certificate_one_is_made(start_server: ServerFactory) -> None:
    server, url = https_server(start_server)
    port = int(url.rpartition(":")[2])
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=20)
    own = ssl.create_default_context(cadata=pem)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        own.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        assert wrapped.version() == "TLSv1.3"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{url}/ping", timeout=20)
    assert "no certificate is configured" in server.log()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda store: None, "the password is wrong, or it is damaged"),
        (lambda store: store.write_bytes(b"nonsense"), "it cannot be read as PKCS#12 or JKS"),
        (lambda store: store.unlink(), "is not a file"),
    ],
    ids=["wrong password", "nonsense", "missing"],
)
@pytest.mark.parametrize("kind", ["keytool JKS", "openssl"])
def test_an_unusable_store_is_refused_in_one_line(
    start_server: ServerFactory,
    tmp_path: Path,
    kind: str,
    spoil: Callable[[Path], object],
    complaint: str,
) -> None:
    store, _ = STORES[kind][1](tmp_path)
    spoil(store)
    config = {"inference_address": "https://127.0.0.1:0", "keystore": store}
    server = start_server(ready=False, config=config)
    assert server.process is not None
    assert server.process.wait(timeout=30) != 0
    assert complaint in server.log()
    assert str(store) in server.log()
