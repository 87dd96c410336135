"""The workloads as plain functions, for the peers that import modules.

The archives carry their own copy of these few lines, because a .mar file is self-contained.

    noop    any body                    -> b"ok"
    noopb   the same, dynamically batched
    mlp     JSON list of 784 floats     -> {"argmax": int}   (784-512-10, one thread)
    tensor  512x512 little-endian f32   -> 512 f32 row means
"""

import os

BUILD = os.environ["BENCH_BUILD"]
MAX_BATCH = 32
DELAY_MS = 2
NAMES = ("noop", "noopb", "mlp", "tensor")


def noop(_body):
    return b"ok"


def make_mlp():
    import torch

    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    net.load_state_dict(
        torch.load(os.path.join(BUILD, "mlp.pt"), map_location="cpu", weights_only=True)
    )
    net.eval()

    def run(rows):
        """rows: list of 784-float lists, or an (n, 784) float32 array."""
        with torch.inference_mode():
            x = (
                torch.from_numpy(rows)
                if hasattr(rows, "dtype")
                else torch.tensor(rows, dtype=torch.float32)
            )
            return net(x).argmax(dim=1).tolist()

    return run


def rowmean(body):
    import numpy as np

    return np.frombuffer(body, dtype="<f4").reshape(512, 512).mean(axis=1).tobytes()
