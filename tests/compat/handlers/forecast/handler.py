import torch
from ts.torch_handler.base_handler import BaseHandler


class ForecastHandler(BaseHandler):
    """Series in nested JSON; tuples and lists of numbers out."""

    def initialize(self, context):
        super().initialize(context)
        context.metrics.add_counter("Initialized", 1)

    def preprocess(self, data):
        series, self.steps = [], []
        for row in data:
            request = row.get("body")["series"]
            self.steps.append(request.get("steps", 2))
            series.append(torch.tensor(request["values"], dtype=torch.float64))
        self.context.metrics.add_size("SeriesSize", len(series), unit="B")
        return series

    def inference(self, data):
        outputs = []
        for values, steps in zip(data, self.steps):
            outputs.append(self.model(values, steps))
        return outputs

    def postprocess(self, data):
        self.context.metrics.add_percent("Share", 50.0)
        for index in range(len(data)):
            self.context.metrics.add_time("Thought", 1.5, index, "ms")
        return [tuple(values.tolist()) for values in data]
