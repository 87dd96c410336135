from harness.gallery import Case, as_json

CASE = Case(
    settings={
        "parallelType": "tp",
        "deviceType": "cpu",
        "torchrun": {"nproc-per-node": 2},
        "startupTimeout": 240,
    },
    needs=["torch"],
    steps=[as_json([1, 0, 0, 0]), as_json([0.5, -1, 2, 4])],
)
