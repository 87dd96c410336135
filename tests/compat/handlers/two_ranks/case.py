from harness.gallery import Case, as_json
from harness.server import free_ports

CASE = Case(
    settings={
        "parallelType": "tp",
        "deviceType": "cpu",
        # Two groups that TorchServe runs at once would both meet at torchrun's default port.
        "torchrun": {"nproc-per-node": 2, "rdzv-endpoint": f"localhost:{free_ports(1)[0]}"},
        "startupTimeout": 240,
    },
    needs=["torch"],
    steps=[as_json([1, 0, 0, 0]), as_json([0.5, -1, 2, 4])],
)
