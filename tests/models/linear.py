"""A BaseHandler over a TorchScript or eager model with two classes."""

from ts.torch_handler.base_handler import BaseHandler


class Linear(BaseHandler):
    def postprocess(self, data):
        return [
            {
                "scores": [round(score, 4) for score in row],
                "names": sorted((self.mapping or {}).values()),
            }
            for row in data.tolist()
        ]
