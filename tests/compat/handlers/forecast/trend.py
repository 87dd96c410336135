import torch


class Trend(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("damping", torch.tensor(0.5, dtype=torch.float64))

    def forward(self, values, steps):
        slope = (values[1:] - values[:-1]).mean() * self.damping
        return values[-1] + slope * torch.arange(1, steps + 1, dtype=torch.float64)
