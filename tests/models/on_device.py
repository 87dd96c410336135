"""Computes where BaseHandler was told to, and says where that is."""

import os

import torch
from ts.torch_handler.base_handler import BaseHandler


class OnDevice(BaseHandler):
    def initialize(self, context):
        gpu = context.system_properties.get("gpu_id")
        self.device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
        self.weight = torch.arange(16.0, device=self.device).reshape(4, 4)

    def handle(self, data, context):
        answers = []
        for row in data:
            value = torch.tensor(row["body"], dtype=torch.float32, device=self.device)
            answers.append(
                {
                    "product": (self.weight @ value).tolist(),
                    "device": str(self.device),
                    "seen": torch.cuda.device_count(),
                    "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
                    "pid": os.getpid(),
                }
            )
        return answers
