"""Opens files of the archive by relative path, when it loads and when it serves."""

import json
import os


class Reader:
    def __init__(self):
        with open("settings.json") as file:
            self.settings = json.load(file)

    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        self.same = os.path.realpath(folder) == os.path.realpath(os.getcwd())
        self.yaml = context.model_yaml_config

    def handle(self, data, context):
        with open("settings.json") as file:
            again = json.load(file)
        return [[self.settings, again == self.settings, self.same, self.yaml]] * len(data)
