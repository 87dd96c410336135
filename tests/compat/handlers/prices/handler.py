import torch
from ts.torch_handler.base_handler import BaseHandler


class PriceHandler(BaseHandler):
    """A regression on named features; each request of a batch fails or succeeds by itself."""

    def initialize(self, ctx):
        super().initialize(ctx)
        settings = ctx.model_yaml_config["handler"]
        self.features = settings["features"]
        self.scale = {**dict.fromkeys(self.features, 1.0), **settings["scale"]}

    def preprocess(self, data):
        rows = []
        self.problems = {}
        for index, row in enumerate(data):
            body = row.get("body")
            body = body if isinstance(body, dict) else {}
            missing = [name for name in self.features if name not in body]
            if missing:
                self.problems[index] = "missing: " + ", ".join(missing)
                rows.append([0.0] * len(self.features))
            else:
                rows.append([float(body[name]) / self.scale[name] for name in self.features])
        return torch.tensor(rows, device=self.device)

    def postprocess(self, data):
        answers = []
        for index, value in enumerate(data.flatten().tolist()):
            if index in self.problems:
                self.context.set_response_status(422, "Unprocessable", index)
                answers.append({"error": self.problems[index]})
            else:
                answers.append({"price": round(value, 2)})
        return answers
