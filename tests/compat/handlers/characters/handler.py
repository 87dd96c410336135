import logging
import os

import torch
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException, list_classes_from_module

logger = logging.getLogger(__name__)


class Generator(BaseHandler):
    """Continues a text character by character, always with the likeliest."""

    def _load_pickled_model(self, model_dir, model_file, model_pt_path):
        import importlib

        module = importlib.import_module(model_file.split(".")[0])
        (network,) = list_classes_from_module(module, torch.nn.Module)
        model = network(layers=1)
        model.load_state_dict(torch.load(model_pt_path, map_location=self.device)["state"])
        logger.info("loaded %s", os.path.basename(model_pt_path))
        return model

    def preprocess(self, data):
        requests = []
        for row in data:
            body = row.get("data") or row.get("body")
            if not isinstance(body, dict) or "prompt" not in body:
                raise PredictionException("a request needs a prompt", 400)
            length = int(body.get("length", 10))
            if length > 50:
                raise PredictionException(f"length {length} is more than 50", 413)
            requests.append((body["prompt"], length))
        return requests

    def inference(self, data):
        return [self.model.write(prompt, length) for prompt, length in data]

    def postprocess(self, data):
        return [{"text": text, "length": len(text)} for text in data]
