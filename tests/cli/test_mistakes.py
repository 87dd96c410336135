"""Mistakes on the command line and in the configuration: one clear line, and no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Command


@pytest.mark.parametrize(
    "words",
    [
        ["--nonsense"],
        ["--start", "--stop"],
        ["--version", "--stop"],
        ["--models"],
        ["stray"],
        ["--model", "ambiguous"],
    ],
)
def test_a_misused_command_line_exits_with_two(tserve: Command, words: list[str]) -> None:
    done = tserve.run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "--help" in done.stderr


def test_help_shows_every_flag_and_a_first_command(tserve: Command) -> None:
    done = tserve.run("--help")
    assert done.returncode == 0
    for flag in [
        "--version",
        "--start",
        "--stop",
        "--ts-config",
        "--model-store",
        "--workflow-store",
        "--models",
        "--log-config",
        "--cpp-log-config",
        "--foreground",
        "--no-config-snapshots",
        "--ncs",
        "--plugins-path",
        "--ppath",
        "--disable-token-auth",
        "--dt",
        "--enable-model-api",
    ]:
        assert flag in done.stdout, flag
    assert "tserve --foreground --model-store" in done.stdout
    for internal in ("background", "janitor"):
        assert f"  {internal}" not in done.stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--start", "--ncs"], "Missing mandatory parameter --model-store"),
        (["--model-store", "/no/store"], "--model-store directory not found: /no/store"),
        (
            ["--model-store", "{store}", "--ts-config", "/no/c"],
            "--ts-config file not found: /no/c",
        ),
        (
            ["--model-store", "{store}", "--workflow-store", "/no/w"],
            "--workflow-store directory not found: /no/w",
        ),
        (
            ["--model-store", "{store}", "--log-config", "/no/l"],
            "--log-config file not found: /no/l",
        ),
        (
            ["--model-store", "{store}", "--cpp-log-config", "/no/p"],
            "--cpp-log-config file not found: /no/p",
        ),
    ],
)
@pytest.mark.parametrize("more", [[], ["--foreground"]])
def test_the_checks_of_the_original_have_its_texts(
    tserve: Command, words: list[str], text: str, more: list[str]
) -> None:
    filled = [word.format(store=tserve.store) for word in words]
    done = tserve.run(*filled, *more)
    assert (done.returncode, done.stdout, done.stderr) == (1, f"{text}\n", "")
    assert not tserve.pid_file.exists()


def test_the_variable_for_the_config_file_goes_before_the_flag(tserve: Command) -> None:
    done = tserve.run(
        "--model-store",
        str(tserve.store),
        "--ts-config",
        tserve.config(),
        TS_CONFIG_FILE="/no/variable",
    )
    assert done.stdout == "--ts-config file not found: /no/variable\n"


def test_a_temp_that_is_no_folder_is_refused(tserve: Command) -> None:
    done = tserve.run("--model-store", str(tserve.store), TEMP="/no/temp")
    text = "Invalid temp directory: /no/temp, please check TEMP environment variable.\n"
    assert (done.returncode, done.stdout) == (1, text)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("job_queue_size=abc", 'job_queue_size: "abc" is not a whole number from 1 to 2147483647'),
        ("job_queue_size=0", 'job_queue_size: "0" is not a whole number from 1 to 2147483647'),
        ("enable_model_api=yes", 'enable_model_api: "yes" is not true or false'),
        (
            "default_response_timeout=2.5",
            'default_response_timeout: "2.5" is not a whole number of seconds from 1 to 2147483647',
        ),
        (
            "inference_address=localhost:8080",
            'inference_address: "localhost:8080" is not an address: write http://host:port, '
            "https://host:port or unix:/absolute/path",
        ),
        (
            "inference_address=http://127.0.0.1:99999",
            'inference_address: "http://127.0.0.1:99999" has the invalid port "99999" (0 to 65535)',
        ),
        (
            "blacklist_env_vars=(",
            'blacklist_env_vars: "(" is not a regular expression (look-around and '
            "back-references are not supported)",
        ),
        (
            "model_store=$$NO_SUCH_NAME$$",
            "model_store: the environment variable NO_SUCH_NAME is not set",
        ),
    ],
)
@pytest.mark.parametrize("more", [[], ["--foreground"]])
def test_a_mistake_in_the_file_is_one_line_that_names_the_place(
    tserve: Command, line: str, problem: str, more: list[str]
) -> None:
    name = tserve.config(line)
    number = len((tserve.cwd / name).read_text().splitlines())
    done = tserve.run("--model-store", str(tserve.store), "--ts-config", name, *more)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{name}:{number}: {problem}\n"
    assert not tserve.pid_file.exists()
    assert not (tserve.cwd / "logs").exists()


def test_broken_models_json_is_refused(tserve: Command) -> None:
    name = tserve.config('models={"a": {"1.0": {"minWorkers": 1}')
    done = tserve.run("--model-store", str(tserve.store), "--ts-config", name)
    assert done.returncode == 1
    assert "models: " in done.stderr
    assert "is not a JSON object" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_token_that_cannot_be_read_is_named(tserve: Command) -> None:
    words = ("--foreground", "--model-store", str(tserve.store))
    done = tserve.run(*words, TSERVE_INFERENCE_TOKEN_FILE="/no/file")
    assert done.returncode == 1
    assert "TSERVE_INFERENCE_TOKEN_FILE: /no/file: cannot be read" in done.stderr
    done = tserve.run(*words, TSERVE_MANAGEMENT_TOKEN="not one word")
    assert done.returncode == 1
    assert "TSERVE_MANAGEMENT_TOKEN: holds no token" in done.stderr
    assert "not one word" not in done.stderr


def test_keys_that_cannot_be_written_are_no_start(tserve: Command) -> None:
    (tserve.cwd / "key_file.json").mkdir()
    name = tserve.config("disable_token_authorization=false")
    done = tserve.run("--foreground", "--model-store", str(tserve.store), "--ts-config", name)
    assert done.returncode == 1
    assert "key_file.json: cannot be written" in done.stderr
    assert "--disable-token-auth" in done.stderr
    assert [entry.name for entry in tserve.cwd.iterdir() if entry.name.startswith(".key")] == []


def test_a_malformed_log_filter_is_refused(tserve: Command) -> None:
    done = tserve.run("--foreground", "--model-store", str(tserve.store), TSERVE_LOG="info,a=b=c")
    assert done.returncode == 1
    assert '"info,a=b=c" is not a list of levels' in done.stderr
    assert "environment variable TSERVE_LOG" in done.stderr
    assert not tserve.pid_file.exists()
