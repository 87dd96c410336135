from harness.gallery import Case, text

CASE = Case(
    settings={
        "parallelType": "pp",
        "deviceType": "cpu",
        "torchrun": {"nproc-per-node": 2},
        "startupTimeout": 240,
    },
    needs=["torch"],
    steps=[text("first"), text("second")],
)
