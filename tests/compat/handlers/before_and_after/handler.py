"""A BaseHandler whose steps are overridden, with a model class and weights of its own."""

import torch
from ts.torch_handler.base_handler import BaseHandler


class BeforeAndAfter(BaseHandler):
    def preprocess(self, data):
        rows = [row.get("data") or row.get("body") for row in data]
        return torch.tensor([row["values"] for row in rows], dtype=torch.float32)

    def inference(self, data, *args, **kwargs):
        return super().inference(data, *args, **kwargs).softmax(dim=1)

    def postprocess(self, data):
        best = data.argmax(dim=1).tolist()
        sure = [round(each, 4) for each in data.max(dim=1).values.tolist()]
        names = self.mapping or {}
        return [
            {"class": names.get(str(index), index), "sure": probability}
            for index, probability in zip(best, sure, strict=True)
        ]
