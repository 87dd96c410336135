from ts.torch_handler.base_handler import BaseHandler


class HungryHandler(BaseHandler):
    def initialize(self, context):
        raise MemoryError("weights are too large")
