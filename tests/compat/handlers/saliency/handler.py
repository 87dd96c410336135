import torch
from captum.attr import Saliency
from ts.torch_handler.base_handler import BaseHandler


class SaliencyHandler(BaseHandler):
    """Explains with a method of captum that the base handlers do not use."""

    def initialize(self, context):
        super().initialize(context)
        self.saliency = Saliency(self.model)

    def preprocess(self, data):
        rows = [row.get("data") or row.get("body") for row in data]
        rows = [row["values"] if isinstance(row, dict) else row for row in rows]
        return torch.tensor(rows, dtype=torch.float32, device=self.device)

    def get_insights(self, tensor_data, raw_data, target=0):
        tensor = tensor_data.clone().requires_grad_()
        values = self.saliency.attribute(tensor, target=int(target), abs=False)
        explained = {"target": target, "raw": raw_data, "explain": self.explain}
        return [{**explained, "values": row} for row in values.tolist()]
