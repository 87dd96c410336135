import os

import torch
from ts.torch_handler.base_handler import BaseHandler


class NeighbourHandler(BaseHandler):
    """Embeds a text by its letters and finds the nearest ones of an index."""

    def initialize(self, context):
        super().initialize(context)
        index = torch.load(os.path.join(context.system_properties["model_dir"], "index.pt"))
        self.titles = index["titles"]
        with torch.inference_mode():
            self.vectors = torch.cat([self.model(self.letters(title)) for title in self.titles])

    def letters(self, text):
        return torch.tensor([[ord(letter) % 64 for letter in text]], device=self.device)

    def preprocess(self, data):
        queries = [row.get("body") or row.get("data") for row in data]
        return [query if isinstance(query, dict) else {"query": query} for query in queries]

    def inference(self, data):
        with torch.inference_mode():
            return [
                (
                    torch.cosine_similarity(self.model(self.letters(each["query"])), self.vectors),
                    each,
                )
                for each in data
            ]

    def postprocess(self, data):
        answers = []
        for similarity, query in data:
            best = similarity.topk(min(query.get("k", 2), len(self.titles)))
            neighbours = [
                {"title": self.titles[index], "similarity": round(value, 4)}
                for index, value in zip(best.indices.tolist(), best.values.tolist())
            ]
            answers.append({"neighbours": neighbours})
        return answers
