"""Steps that report how long they take, when the configuration asks for it."""

from ts.handler_utils.timer import timed
from ts.torch_handler.base_handler import BaseHandler


class Stopwatch(BaseHandler):
    def initialize(self, context):
        self.context = context
        self.initialized = True

    @timed
    def preprocess(self, data):
        return [row.get("data") or row.get("body") for row in data]

    @timed
    def inference(self, data, *args, **kwargs):
        return [value.upper() for value in data]

    @timed
    def postprocess(self, data):
        emitted = [name for names in self.context.metrics.cache.values() for name in names]
        steps = sorted(name for name in emitted if name.startswith("ts_handler_"))
        return [{"text": value, "timed so far": steps} for value in data]
