import os

import work
from mosec import Server, Worker

WORKLOAD = os.environ["BENCH_WORKLOAD"]


class _Raw(Worker):
    req_mime_type = resp_mime_type = "application/octet-stream"

    def deserialize(self, data):
        return data

    def serialize(self, data):
        return data


class Noop(_Raw):
    def forward(self, data):
        return work.noop(data)


class NoopBatched(_Raw):
    def forward(self, data):
        return [work.noop(item) for item in data]


class Mlp(Worker):  # JSON in and out is mosec's default
    def __init__(self):
        super().__init__()
        self.run = work.make_mlp()

    def forward(self, data):
        return [{"argmax": i} for i in self.run(data)]


class Tensor(_Raw):
    def forward(self, data):
        return work.rowmean(data)


if __name__ == "__main__":
    server = Server()
    cls = {"noop": Noop, "noopb": NoopBatched, "mlp": Mlp, "tensor": Tensor}[WORKLOAD]
    if WORKLOAD in ("noopb", "mlp"):
        server.append_worker(cls, num=1, max_batch_size=work.MAX_BATCH, max_wait_time=work.DELAY_MS)
    else:
        server.append_worker(cls, num=1)
    server.run()
