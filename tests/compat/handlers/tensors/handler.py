import io

import torch
from ts.torch_handler.base_handler import BaseHandler


class TensorHandler(BaseHandler):
    """Tensors in and out, as torch.save writes them."""

    def preprocess(self, data):
        rows = [row.get("data") or row.get("body") for row in data]
        return torch.stack([torch.load(io.BytesIO(row), map_location=self.device) for row in rows])

    def postprocess(self, data):
        return list(data)
