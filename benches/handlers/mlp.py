"""JSON list of 784 floats -> {"argmax": int}.

With `MLP_TYPED` in the environment it takes typed inputs: the server makes float32 of the list.
"""

import json
import os

import torch


class MlpHandler:
    typed_inputs = "torch" if os.environ.get("MLP_TYPED") else None
    typed_json = "float32"

    def initialize(self, context):
        torch.set_num_threads(1)
        props = context.system_properties
        path = os.path.join(props.get("model_dir"), "mlp.pt")
        net = torch.nn.Sequential(
            torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10)
        )
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        net.eval()
        self.net = net
        self.initialized = True

    def handle(self, data, context):
        with torch.inference_mode():
            best = self.net(self.batch(data)).argmax(dim=1)
        return [{"argmax": i} for i in best.tolist()]

    def batch(self, data):
        if self.typed_inputs:
            return torch.stack([row["body"] for row in data])
        rows = []
        for row in data:
            body = row.get("body")
            if isinstance(body, (bytes, bytearray)):
                body = json.loads(body)
            rows.append(body)
        return torch.tensor(rows, dtype=torch.float32)
