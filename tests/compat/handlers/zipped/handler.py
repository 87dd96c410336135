import logging
import os
import sys
import zipfile
from abc import ABC

from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


class ZippedHandler(BaseHandler, ABC):
    """A package and its weights in a zip file, unpacked when the model is loaded."""

    def __init__(self):
        super().__init__()
        self.initialized = False

    def initialize(self, ctx):
        self.manifest = ctx.manifest
        folder = ctx.system_properties.get("model_dir")
        with zipfile.ZipFile(os.path.join(folder, "package.zip")) as file:
            file.extractall(os.path.join(folder, "unpacked"))
        sys.path.insert(0, os.path.join(folder, "unpacked"))
        from rhymes import rhyme

        self.model = rhyme
        self.initialized = True
        logger.info("unpacked")

    def preprocess(self, requests):
        texts = []
        for data in requests:
            text = data.get("data")
            if text is None:
                text = data.get("body")
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            texts.append(text)
        return texts

    def inference(self, texts):
        return [self.model(text) for text in texts]

    def postprocess(self, inference_output):
        return inference_output
