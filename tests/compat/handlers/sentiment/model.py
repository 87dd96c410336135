import torch


class Sentiment(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(12, 5, padding_idx=0)
        self.fc = torch.nn.Linear(5, 2)

    def forward(self, numbers):
        lengths = (numbers > 0).sum(dim=1, keepdim=True)
        return self.fc(self.embedding(numbers).sum(dim=1) / lengths)
