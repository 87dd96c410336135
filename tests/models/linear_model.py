"""y = 2x and y = 3 - x, so that answers can be told by hand."""

import torch


class TwoScores(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(2))
        self.offset = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x.reshape(-1, 1) * self.slope + self.offset
