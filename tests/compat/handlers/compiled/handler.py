import torch
from ts.torch_handler.base_handler import BaseHandler


class CompiledHandler(BaseHandler):
    """Tells what torch.compile made of the model."""

    def preprocess(self, data):
        return torch.tensor([row["body"] for row in data], dtype=torch.float32)

    def postprocess(self, data):
        return [{"kind": type(self.model).__name__, "values": row} for row in data.tolist()]
