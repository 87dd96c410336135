"""Trains the digit classifier on the UCI digits that ship inside scikit-learn.

    python examples/digits/train.py OUTPUT_FOLDER

Writes weights.pt there. The seed is fixed: every run on one machine gives the same weights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from model import DigitNet
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS = 30
BATCH = 64


class Trained(NamedTuple):
    """What training leaves: the weights' file, the accuracy on pictures it never saw, and those."""

    weights: Path
    accuracy: float
    test_images: np.ndarray  # float, shape (N, 8, 8), values 0..16
    test_digits: np.ndarray  # int, shape (N,)


def train(folder: Path) -> Trained:
    """Trains, measures the accuracy on a held-out fifth of the data, saves the weights."""
    torch.manual_seed(7)
    torch.set_num_threads(1)  # the net is so small that threads only wait for each other
    digits = load_digits()
    images, test_images, labels, test_labels = train_test_split(
        digits.images, digits.target, test_size=0.2, random_state=7, stratify=digits.target
    )
    inputs = torch.tensor(images, dtype=torch.float32).unsqueeze(1) / 16
    targets = torch.tensor(labels)

    model = DigitNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for batch in torch.randperm(len(inputs)).split(BATCH):
            loss = torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        if epoch % 10 == 0:
            print(f"    epoch {epoch:2} of {EPOCHS}: loss {total / len(inputs):.4f}", flush=True)

    model.eval()
    with torch.inference_mode():
        guesses = model(torch.tensor(test_images, dtype=torch.float32).unsqueeze(1) / 16).argmax(1)
    accuracy = (guesses == torch.tensor(test_labels)).float().mean().item()

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "weights.pt"
    torch.save(model.state_dict(), weights)
    return Trained(weights, accuracy, test_images, test_labels)


if __name__ == "__main__":
    result = train(Path(sys.argv[1]))
    print(f"accuracy on {len(result.test_digits)} held-out pictures: {result.accuracy:.2%}")
