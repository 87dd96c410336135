"""The whole way: train a model, pack it, serve it, ask it. Run by `make demo`.

Every step prints the command that a person would type, and then runs that very command.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from train import train

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / ".demo"
BIN = Path(sys.executable).parent
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
REQUIRED_ACCURACY = 0.97
PICTURES = 5
TIMED_REQUESTS = 500
START_DEADLINE_S = 120


def say(text: str) -> None:
    print(f"\n\033[1m==> {text}\033[0m", flush=True)


def show_command(words: list[str]) -> None:
    print("\033[36m$ " + shlex.join(words) + "\033[0m", flush=True)


def relative(path: Path) -> str:
    """The path as a person in the repository's folder would type it."""
    return os.path.relpath(path, Path.cwd())


def run(words: list[str]) -> None:
    show_command(words)
    subprocess.run(words, check=True, timeout=60)


def free_ports(wanted: list[int]) -> list[int]:
    """The wanted ports where they are free, else others; loopback only."""
    with contextlib.ExitStack() as stack:
        ports = []
        for port in wanted:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                listener.bind(("127.0.0.1", 0))
            ports.append(listener.getsockname()[1])
        return ports


def drawn(image: np.ndarray) -> list[str]:
    """An 8x8 picture as text, two characters per pixel."""
    return ["".join(" .:-=+*#%@"[int(value * 9 / 16)] * 2 for value in row) for row in image]


def pack(weights: Path) -> Path:
    store = WORK / "model-store"
    store.mkdir(parents=True, exist_ok=True)
    names = WORK / "index_to_name.json"
    names.write_text(json.dumps({str(digit): name for digit, name in enumerate(NAMES)}))
    settings = WORK / "model-config.yaml"
    settings.write_text("minWorkers: 1\nmaxWorkers: 1\nbatchSize: 16\nmaxBatchDelay: 1\n")
    run([
        relative(BIN / "tserve-archiver"),
        "--model-name", "digits", "--version", "1.0",
        "--model-file", relative(HERE / "model.py"),
        "--serialized-file", relative(weights),
        "--handler", relative(HERE / "handler.py"),
        "--extra-files", relative(names),
        "--config-file", relative(settings),
        "--export-path", relative(store),
        "--force",
    ])  # fmt: skip
    print(f"{relative(store / 'digits.mar')}: {(store / 'digits.mar').stat().st_size} bytes")
    return store


def start(store: Path, ports: list[int]) -> subprocess.Popen[bytes]:
    config = WORK / "config.properties"
    config.write_text(
        f"inference_address=http://127.0.0.1:{ports[0]}\n"
        f"management_address=http://127.0.0.1:{ports[1]}\n"
        f"metrics_address=http://127.0.0.1:{ports[2]}\n"
        f"grpc_inference_port={ports[3]}\n"
        f"grpc_management_port={ports[4]}\n"
    )
    words = [
        relative(BIN / "tserve"), "--foreground", "--disable-token-auth", "--no-config-snapshots",
        "--model-store", relative(store), "--models", "digits.mar",
        "--ts-config", relative(config),
    ]  # fmt: skip
    show_command(words)
    log = (WORK / "server.log").open("wb")
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LOG_LOCATION": str(WORK / "logs")},
    )


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()


def wait_until_ready(server: subprocess.Popen[bytes], management_port: int) -> None:
    """Until the model's worker has loaded it."""
    begun = time.monotonic()
    while time.monotonic() < begun + START_DEADLINE_S:
        if server.poll() is not None:
            raise RuntimeError(f"tserve ended with status {server.returncode} while it started")
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            status, body = ask(management_port, "/models/digits")
            if status == 200 and all(
                worker["status"] == "READY" for worker in json.loads(body)[0]["workers"]
            ):
                print(f"ready after {time.monotonic() - begun:.1f} s")
                return
        time.sleep(0.1)
    raise RuntimeError(f"the model was not loaded within {START_DEADLINE_S} s")


def send_pictures(port: int, images: np.ndarray, digits: np.ndarray) -> int:
    """Sends some pictures with curl, prints them and the answers; returns the hits."""
    url = f"http://127.0.0.1:{port}/predictions/digits"
    right = 0
    for digit in range(PICTURES):
        index = int(np.flatnonzero(digits == digit * 2 % 10 + digit // 5)[0])
        file = WORK / f"picture-{digits[index]}.png"
        Image.fromarray((images[index] * 255 / 16).astype("uint8")).save(file)
        words = ["curl", "-sSf", url, "-T", relative(file)]
        show_command(words)
        if shutil.which("curl"):
            body = subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=30).stdout
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("PUT", "/predictions/digits", body=file.read_bytes())
            body = connection.getresponse().read()
        answer = json.loads(body)
        good = answer["digit"] == digits[index]
        right += good
        beside = ["", f"answer  {json.dumps(answer)}", f"truth   {digits[index]}",
                  "right" if good else "WRONG"]  # fmt: skip
        for row, line in enumerate(drawn(images[index])):
            print(f"    {line}    {beside[row - 2] if 2 <= row < 6 else ''}".rstrip(), flush=True)
    return right


def measure(port: int, images: np.ndarray, digits: np.ndarray) -> int:
    """Sends many pictures over one connection and prints the latencies; returns the hits."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    latencies_ms, hits = [], 0
    with contextlib.closing(connection):
        for number in range(TIMED_REQUESTS):
            index = number % len(images)
            body = json.dumps(images[index].tolist())
            begun = time.perf_counter()
            connection.request(
                "POST", "/predictions/digits", body, {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            answer = response.read()
            latencies_ms.append((time.perf_counter() - begun) * 1000)
            hits += response.status == 200 and json.loads(answer)["digit"] == digits[index]
    p50, p99 = np.percentile(latencies_ms, [50, 99])
    print(
        f"{TIMED_REQUESTS} pictures, one after another: {hits / TIMED_REQUESTS:.1%} right,"
        f" p50 {p50:.2f} ms, p99 {p99:.2f} ms (network, batching, model)"
    )
    return hits


def stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop at the end instead of serving on")
    options = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()

    say("Training a digit classifier on the UCI digits (some seconds)")
    trained = train(WORK)
    print(f"accuracy on {len(trained.test_digits)} held-out pictures: {trained.accuracy:.2%}")
    if trained.accuracy < REQUIRED_ACCURACY:
        print(f"that is less than the {REQUIRED_ACCURACY:.0%} expected of it")
        return 1

    say("Packing it")
    store = pack(trained.weights)

    say("Serving it")
    ports = free_ports([8080, 8081, 8082, 7070, 7071])
    server = start(store, ports)
    try:
        wait_until_ready(server, ports[1])
        say("Asking it")
        right = send_pictures(ports[0], trained.test_images, trained.test_digits)
        hits = measure(ports[0], trained.test_images, trained.test_digits)
        good = right == PICTURES and hits >= REQUIRED_ACCURACY * TIMED_REQUESTS
        if options.once or not good:
            print("\nEverything was answered right." if good else "\nSome answers were wrong.")
            return 0 if good else 1
        say("Serving on; repeat the commands above in another terminal. Ctrl-C stops")
        return server.wait()
    except KeyboardInterrupt:
        print("\nstopping")
        return 0
    except (RuntimeError, OSError, subprocess.SubprocessError, ValueError, LookupError) as error:
        print(f"\nfailed: {error}\nthe server's last words ({relative(WORK / 'server.log')}):")
        lines = (WORK / "server.log").read_text(errors="replace").splitlines()
        print("\n".join([line for line in lines if "ACCESS_LOG" not in line][-40:]))
        return 1
    finally:
        stop(server)


if __name__ == "__main__":
    sys.exit(main())
