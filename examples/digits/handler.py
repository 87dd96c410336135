"""Answers pictures of digits. Runs unchanged on tserve and on TorchServe."""

import io

import torch
from PIL import Image
from ts.torch_handler.base_handler import BaseHandler


class DigitHandler(BaseHandler):
    """`BaseHandler` loads model.py, the weights and index_to_name.json; the rest is here."""

    def initialize(self, context):
        torch.set_num_threads(1)  # the net is so small that threads only wait for each other
        super().initialize(context)

    def preprocess(self, data):
        """Decodes one picture per request.

        Args:
            data: one dict per request; `body` or `data` is a picture file (PNG, JPEG, ...) as
                bytes, or 8 rows of 8 numbers 0..16 as JSON.

        Returns:
            float32, shape (B, 1, 8, 8), values 0..1, on the model's device.
        """
        pictures = []
        for row in data:
            body = row.get("data") or row.get("body")
            if isinstance(body, (bytes, bytearray)):
                picture = Image.open(io.BytesIO(body)).convert("L").resize((8, 8))
                pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
                pictures.append(pixels.reshape(1, 8, 8).float() / 255)
            else:
                pictures.append(torch.tensor(body, dtype=torch.float32).reshape(1, 8, 8) / 16)
        return torch.stack(pictures).to(self.device)

    def postprocess(self, logits):
        """Turns logits (B, 10) into one JSON object per request."""
        best = torch.softmax(logits, dim=1).max(dim=1)
        return [
            {"digit": digit, "name": self.mapping[str(digit)], "probability": round(probability, 4)}
            for digit, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
