import json

import torch

MODEL = None


class Ranker(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.users = torch.nn.Embedding(5, 3)
        self.items = torch.nn.Embedding(7, 3)


class Unrelated:
    """More than one class is fine where the entry point is a function."""


def rank(data, context):
    global MODEL
    if data is None:
        MODEL = Ranker()
        weights = context.system_properties["model_dir"] + "/ranker.pt"
        MODEL.load_state_dict(torch.load(weights, weights_only=True))
        return None
    answers = []
    for row in data:
        wish = row.get("user", row.get("body"))
        if isinstance(wish, (bytes, bytearray)):
            wish = json.loads(wish)
        with torch.inference_mode():
            scores = MODEL.items.weight @ MODEL.users.weight[wish]
        answers.append(scores.argsort(descending=True).tolist())
    return answers
