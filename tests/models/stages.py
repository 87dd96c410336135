"""A pipeline of two stages; only the first gets requests, and calls the second through RPC."""

import os

import torch.distributed.rpc as rpc


def stage(index, value):
    return value * 10 + index


class Stages:
    def initialize(self, context):
        self.rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        rpc.init_rpc(f"stage{self.rank}", rank=self.rank, world_size=size)

    def handle(self, data, context):
        assert self.rank == 0, "the second stage gets no requests"
        first = stage(1, int(data[0]["body"]))
        return [str(rpc.rpc_sync("stage1", stage, (2, first)))]
