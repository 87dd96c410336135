"""A pipeline: only the first process is asked, and asks the second itself."""

import os

import torch
import torch.distributed as dist


class HeadOfPipeline:
    def initialize(self, context):
        self.rank = int(os.environ["RANK"])
        dist.init_process_group("gloo")
        value = torch.tensor([float(self.rank + 1)])
        dist.all_reduce(value)
        self.sum = int(value.item())

    def handle(self, data, context):
        if self.rank != 0:
            raise RuntimeError("the second stage is asked by the first, not by the server")
        return [f"{self.rank} {self.sum} {row.get('body')}" for row in data]
