import torch


class Keywords(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(129, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
        )

    def forward(self, spectrogram):
        return self.layers(spectrogram)
