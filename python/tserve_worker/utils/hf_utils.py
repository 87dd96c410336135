"""``download_model``: the files of a model from the Hugging Face hub, ``ts.utils.hf_utils``."""

from __future__ import annotations

from typing import Any

from tserve_worker import _extras

PATTERNS = (
    "*.json",
    "*.pt",
    "*.bin",
    "*.txt",
    "*.model",
    "*.pth",
    "*.safetensors",
    "original/*",
)
"""Weights, configuration and tokenizer, not the other things in a repository."""


def download_model(
    model_id: str = "meta-llama/Meta-Llama-3.1-8B-Instruct",
    revision: str = "main",
    model_path: str | None = ".cache",
    use_auth_token: bool | str | None = True,
) -> Any:
    """Fetch a model's files.

    Args:
        model_id: repository on the hub.
        revision: branch, tag or commit.
        model_path: folder that keeps what was fetched; None for the one of all programs.
        use_auth_token: True for the token of this machine's user, or a token; None for that token
            if there is one.

    Returns:
        path of the folder with the files.

    Raises:
        ModuleNotFoundError: the package huggingface_hub is missing.
    """
    return _extras.load("huggingface_hub").snapshot_download(
        repo_id=model_id,
        revision=revision,
        allow_patterns=list(PATTERNS),
        cache_dir=model_path,
        token=use_auth_token,
    )
