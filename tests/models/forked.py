"""Loads something heavy, and tells which process answers and what it was born with."""

import os
import random

import torch

BORN = os.getpid()
TABLE = torch.arange(8_000_000, dtype=torch.float32)


class Forked:
    def initialize(self, context):
        self.loaded_in = os.getpid()
        print(f"loaded in {self.loaded_in}")
        self.layer = torch.nn.Linear(64, 64)

    def handle(self, data, context):
        wish = data[0].get("body")
        if wish == b"die":
            os._exit(3)
        if wish == b"child":
            os.system("sleep 300 &")
        with torch.no_grad():
            self.layer(torch.ones(64, 64))
        return [
            {
                "pid": os.getpid(),
                "imported in": BORN,
                "loaded in": self.loaded_in,
                "threads": torch.get_num_threads(),
                "group": os.getpgrp(),
                "random": random.random(),
                "name": context.model_name,
                "model": float(TABLE[7]),
            }
            for _ in data
        ]
