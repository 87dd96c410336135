import torch


class Doubles(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) * 2
