import torch

LETTERS = " abcdefghijklmnopqrstuvwxyz"


class Writer(torch.nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.embedding = torch.nn.Embedding(len(LETTERS), 8)
        self.rnn = torch.nn.GRU(8, 16, num_layers=layers, batch_first=True)
        self.fc = torch.nn.Linear(16, len(LETTERS))

    @torch.no_grad()
    def write(self, prompt, length):
        numbers = torch.tensor([[max(LETTERS.find(letter), 0) for letter in prompt.lower()]])
        state, text = None, ""
        for _ in range(length):
            output, state = self.rnn(self.embedding(numbers), state)
            numbers = self.fc(output[:, -1]).argmax(dim=1, keepdim=True)
            text += LETTERS[int(numbers)]
        return text
