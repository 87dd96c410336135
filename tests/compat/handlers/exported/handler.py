import os

import torch
from ts.torch_handler.base_handler import BaseHandler


class ExportedHandler(BaseHandler):
    """A program that torch.export wrote, loaded by the handler itself."""

    def initialize(self, context):
        properties = context.system_properties
        self.device = torch.device("cpu")
        self.manifest = context.manifest
        path = os.path.join(properties["model_dir"], self.manifest["model"]["serializedFile"])
        self.model = torch.export.load(path).module()
        self.initialized = True

    def preprocess(self, data):
        return torch.tensor([row["body"]["values"] for row in data], dtype=torch.float32)

    def postprocess(self, data):
        return [{"sums": sums} for sums in data.tolist()]
