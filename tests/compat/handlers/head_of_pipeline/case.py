from harness.gallery import Case, text
from harness.server import free_ports

CASE = Case(
    settings={
        "parallelType": "pp",
        "deviceType": "cpu",
        # Two groups that TorchServe runs at once would both meet at torchrun's default port.
        "torchrun": {"nproc-per-node": 2, "rdzv-endpoint": f"localhost:{free_ports(1)[0]}"},
        "startupTimeout": 240,
    },
    needs=["torch"],
    steps=[text("first"), text("second")],
)
