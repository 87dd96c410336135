import base64
import io
import json

import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor
from ts.torch_handler.base_handler import BaseHandler


class CaptionHandler(BaseHandler):
    """Two inputs of a request: a picture, and what is asked about it."""

    def initialize(self, context):
        self.device = torch.device("cpu")
        self.model = lambda picture: picture.mean(dim=(1, 2))
        self.initialized = True

    def preprocess(self, data):
        asked = []
        for row in data:
            if isinstance(row.get("body"), dict):
                picture, words = base64.b64decode(row["body"]["picture"]), row["body"]["words"]
            else:
                picture, words = row["picture"], row["words"]
            if isinstance(words, (bytes, bytearray)):
                words = json.loads(words)
            asked.append((to_tensor(Image.open(io.BytesIO(picture)).convert("RGB")), words))
        return asked

    def inference(self, data):
        return [(self.model(picture), words) for picture, words in data]

    def postprocess(self, data):
        return [
            {word: round(float(colours[["red", "green", "blue"].index(word)]), 3) for word in words}
            for colours, words in data
        ]
