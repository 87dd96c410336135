"""The pattern of the oldest handlers: one object of the module, and a function beside it."""

import logging

logger = logging.getLogger(__name__)


class Words:
    def __init__(self):
        self.ready = False
        self.seen = 0

    def initialize(self, context):
        self.model = context.manifest["model"]["modelName"]
        self.ready = True

    def count(self, text):
        self.seen += 1
        return {"model": self.model, "words": len(text.split()), "seen": self.seen}


class Unrelated:
    """A second class, which a handler without a function could not have."""


_service = Words()


def handle(data, context):
    if not _service.ready:
        _service.initialize(context)
    if data is None:
        return None
    logger.info("counting %d texts", len(data))
    texts = [row.get("data") or row.get("body") for row in data]
    return [_service.count(text.decode() if hasattr(text, "decode") else text) for text in texts]
