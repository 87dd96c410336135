"""Reports far more than anybody can want, under labels that are all different."""

from ts.metrics.dimension import Dimension


def handle(data, context):
    if data is None:
        return None
    for number in range(20_000):
        label = Dimension("Which", f"{number}-{'é' * 50}")
        context.metrics.add_counter("Flood", 1, dimensions=[label])
    return ["flooded"] * len(data)
