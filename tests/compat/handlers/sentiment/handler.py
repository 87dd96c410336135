import json
import os
import re

import torch
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import map_class_to_label


class SentimentHandler(BaseHandler):
    """Texts of different lengths in one padded batch."""

    def initialize(self, context):
        super().initialize(context)
        path = os.path.join(context.system_properties["model_dir"], "words.json")
        with open(path) as file:
            self.words = json.load(file)
        self.longest = self.model_yaml_config["handler"]["longest"]

    def preprocess(self, data):
        rows = []
        for row in data:
            text = row.get("data") or row.get("body")
            if isinstance(text, dict):
                text = text["text"]
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            numbers = [self.words.get(word, 1) for word in re.findall(r"\w+", text.lower())]
            rows.append(torch.tensor(numbers[: self.longest] or [1]))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device)

    def inference(self, data):
        with torch.no_grad():
            return torch.softmax(self.model(data), dim=1)

    def postprocess(self, data):
        scores, classes = data.sort(dim=1, descending=True)
        return map_class_to_label(scores.tolist(), self.mapping, classes.tolist())
