"""``python -m ts.llm_launcher``: serve a language model with one command.

Source: TorchServe ``ts/llm_launcher.py``, for flags and settings.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from tserve_worker import _extras, launcher
from tserve_worker.utils.hf_utils import download_model

PACKAGES = {"vllm": "vllm", "trt_llm": "tensorrt_llm"}
"""The package of each engine."""

VERSION = "1.0"

FILES = {"MAR-INF", "model-config.yaml"}
"""What a folder in the model store may hold that this program replaces and removes."""


class LaunchError(Exception):
    """The model cannot be served; the text is for the user."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the server ends or somebody interrupts; return the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        return launch(vars(options))
    except LaunchError as exc:
        print(f"llm_launcher: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line; flags and defaults as those of TorchServe 0.12."""
    parser = argparse.ArgumentParser(
        prog="python -m ts.llm_launcher",
        description="Serve a language model with vLLM or TensorRT-LLM.",
    )
    parser.add_argument("--model_name", default="model", help="name in URLs")
    parser.add_argument("--model_store", default="model_store", help="folder, made if need be")
    parser.add_argument(
        "--model_id",
        default="meta-llama/Meta-Llama-3.1-8B-Instruct",
        help="folder of the model, or its name on the Hugging Face hub (default: %(default)s)",
    )
    parser.add_argument(
        "--disable_token_auth", action="store_true", help="ask clients for no tokens"
    )
    parser.add_argument("--engine", default="vllm", choices=tuple(PACKAGES))
    parser.add_argument(
        "--startup_timeout", type=int, default=1200, help="seconds to load the model in"
    )
    parser.add_argument("--dtype", default="bfloat16", help="data type (default: %(default)s)")
    vllm = parser.add_argument_group("vLLM")
    vllm.add_argument("--vllm_engine.max_num_seqs", type=int, default=256, metavar="N")
    vllm.add_argument("--vllm_engine.max_model_len", type=int, metavar="N")
    vllm.add_argument(
        "--vllm_engine.download_dir", metavar="FOLDER", help="for --engine trt_llm too"
    )
    tensorrt = parser.add_argument_group("TensorRT-LLM")
    tensorrt.add_argument("--trt_llm_engine.max_batch_size", type=int, default=4, metavar="N")
    tensorrt.add_argument(
        "--trt_llm_engine.kv_cache_free_gpu_memory_fraction",
        type=float,
        default=0.1,
        metavar="FRACTION",
    )
    return parser


def launch(options: dict[str, Any]) -> int:
    """Put the model into the store, start the server and wait for its end.

    Raises:
        LaunchError: something is missing, or the server does not start.
    """
    _check_package(PACKAGES[options["engine"]])
    store = Path(options["model_store"])
    target = store / options["model_name"]
    if target.exists() and not {file.name for file in target.iterdir()} <= FILES:
        raise LaunchError(f"{target} exists and is not of this program; it is left alone")
    model = find_model(options["model_id"], options["vllm_engine.download_dir"])
    config = model_config(options, model, count_gpus())
    store.mkdir(parents=True, exist_ok=True)
    _pack(options, store, config)
    try:
        return _serve(options, store)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def find_model(model_id: str, download_dir: str | None) -> str:
    """Return the folder of a model, fetched from the Hugging Face hub if it is not on this machine.

    Raises:
        LaunchError: it cannot be fetched.
    """
    if Path(model_id).is_dir():
        return str(Path(model_id).resolve())
    try:
        return str(download_model(model_id, model_path=download_dir, use_auth_token=None))
    except ModuleNotFoundError as exc:
        reason = str(exc)
    except Exception as exc:
        # The hub's library raises dozens of kinds, also those of its HTTP library.
        lines = str(exc).strip().splitlines() or [""]
        reason = f"{type(exc).__name__}: {lines[0]}"
    raise LaunchError(
        f"{model_id!r} is no folder and cannot be fetched from the Hugging Face hub: {reason}; "
        "hint: give --model_id a folder with the model, or for a gated model set HF_TOKEN"
    )


def model_config(options: dict[str, Any], model: str, gpus: int) -> dict[str, Any]:
    """Write model-config.yaml."""
    config: dict[str, Any] = {
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": 1,
        "maxBatchDelay": 100,
        "responseTimeout": 1200,
        "startupTimeout": options["startup_timeout"],
        "deviceType": "gpu" if gpus else "cpu",
        "asyncCommunication": True,
    }
    if gpus:
        # One worker process, which sees all of them.
        config |= {"parallelType": "custom", "parallelLevel": gpus}
    names = list(dict.fromkeys([options["model_id"], options["model_name"]]))
    if options["engine"] == "vllm":
        engine = {
            "dtype": options["dtype"],
            "max_num_seqs": options["vllm_engine.max_num_seqs"],
            "max_model_len": options["vllm_engine.max_model_len"],
            "download_dir": options["vllm_engine.download_dir"],
            "tensor_parallel_size": gpus or None,
            "served_model_name": names,
        }
        given = {name: value for name, value in engine.items() if value is not None}
        config["handler"] = {"model_path": model, "vllm_engine_config": given}
        return config
    engine = {"max_batch_size": options["trt_llm_engine.max_batch_size"], "dtype": options["dtype"]}
    fraction = options["trt_llm_engine.kv_cache_free_gpu_memory_fraction"]
    if gpus > 1:
        engine["tensor_parallel_size"] = gpus
    config["handler"] = {
        "engine_dir": model,
        "tokenizer_dir": model,
        "kv_cache_config": {"free_gpu_memory_fraction": fraction},
        "trt_llm_engine_config": engine,
    }
    return config


def count_gpus() -> int:
    """Count the GPUs that torch sees; both engines need it anyway."""
    try:
        torch = _extras.load("torch")
    except ModuleNotFoundError:
        return 0
    return int(torch.cuda.device_count())


def _check_package(name: str) -> None:
    """See to it that an engine is installed.

    Raises:
        LaunchError: it is not.
    """
    if importlib.util.find_spec(name) is None:
        missing = ModuleNotFoundError(f"No module named {name!r}", name=name)
        raise LaunchError(str(_extras.with_hint(missing)))


def _pack(options: dict[str, Any], store: Path, config: dict[str, Any]) -> None:
    """Write the model's folder into the store.

    Raises:
        LaunchError: the archiver refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model-config.yaml")
        file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        words = [
            *(sys.executable, "-m", "archiver", "--force"),
            *("--model-name", options["model_name"], "--version", VERSION),
            *("--handler", f"{options['engine']}_handler", "--config-file", str(file)),
            *("--archive-format", "no-archive", "--export-path", str(store)),
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaunchError(done.stderr.strip())


def _serve(options: dict[str, Any], store: Path) -> int:
    """Start the server and wait for its end, or end it when somebody interrupts.

    Raises:
        LaunchError: it does not start.
    """
    with _interruptible():
        try:
            lines = launcher.start(
                model_store=str(store),
                no_config_snapshots=True,
                disable_token=options["disable_token_auth"],
                models=options["model_name"],
            )
            while lines.get() is not None:
                pass
        except RuntimeError as exc:
            raise LaunchError(str(exc)) from exc
        except KeyboardInterrupt:
            launcher.stop()
            return 0
    print("llm_launcher: the server has ended", file=sys.stderr)
    return 1


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Make SIGTERM an interrupt, as containers send it."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
