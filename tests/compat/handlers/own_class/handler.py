"""A class of its own, without BaseHandler, that keeps nothing in `__init__`."""

import json
import os


class OwnClass:
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        with open(os.path.join(folder, "prices.json"), encoding="utf-8") as file:
            self.prices = json.load(file)
        with open("prices.json", encoding="utf-8") as file:  # the working directory is the model's
            assert json.load(file) == self.prices
        self.keys = sorted(context.system_properties)

    def handle(self, data, context):
        answers = []
        for row in data:
            basket = row["body"]
            unknown = [name for name in basket if name not in self.prices]
            if unknown:
                answers.append({"unknown": unknown})
            else:
                cents = sum(self.prices[name] * count for name, count in basket.items())
                answers.append({"cents": cents, "known": self.keys})
        return answers
