import csv
import io
import json
import os

from ts.utils.util import load_label_mapping


class ForestHandler:
    """Decision trees in JSON, rows of a table in CSV or JSON; no torch and no base class."""

    def __init__(self):
        self.initialized = False

    def initialize(self, context):
        properties = context.system_properties
        model = context.manifest["model"]["serializedFile"]
        with open(os.path.join(properties["model_dir"], model)) as file:
            self.trees = json.load(file)
        self.labels = load_label_mapping(
            os.path.join(properties["model_dir"], "index_to_name.json")
        )
        self.initialized = True

    def vote(self, tree, row):
        while "class" not in tree:
            tree = tree["below"] if row[tree["column"]] < tree["threshold"] else tree["above"]
        return tree["class"]

    def handle(self, data, context):
        return [self.answer(row.get("data") or row.get("body")) for row in data]

    def answer(self, body):
        if isinstance(body, (bytes, bytearray)):
            body = body.decode()
        if isinstance(body, str):
            body = [
                [float(cell) for cell in line] for line in csv.reader(io.StringIO(body)) if line
            ]
        answers = []
        for row in body:
            votes = [self.vote(tree, row) for tree in self.trees]
            winner = max(sorted(set(votes)), key=votes.count)
            answers.append({"class": self.labels[str(winner)], "votes": votes.count(winner)})
        return answers
