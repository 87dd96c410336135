"""Tiny torch models whose answers can be told by hand: scores (2x, 3 - x) for every number x."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import NamedTuple

from harness.archives import MODELS


class Weights(NamedTuple):
    """The same model in the two forms that BaseHandler loads."""

    eager: Path  # a state dict for models/linear_model.py
    scripted: Path  # TorchScript


def save_weights(folder: Path) -> Weights:
    """Writes both files into `folder`."""
    import torch

    spec = importlib.util.spec_from_file_location("linear_model", MODELS / "linear_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TwoScores()
    with torch.no_grad():
        model.slope.copy_(torch.tensor([2.0, -1.0]))
        model.offset.copy_(torch.tensor([0.0, 3.0]))
    weights = Weights(folder / "weights.pth", folder / "scripted.pt")
    torch.save(model.state_dict(), weights.eager)
    with warnings.catch_warnings():
        # TorchScript is deprecated and still what many archives hold.
        warnings.simplefilter("ignore")
        torch.jit.trace(model, torch.zeros(3)).save(str(weights.scripted))
    return weights
