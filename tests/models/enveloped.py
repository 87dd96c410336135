"""For the v2 envelope: doubles numbers, tells what it got of everything else."""


def handle(data, context):
    if data is None:
        return None
    numbers = [entry["data"] for entry in data if entry["datatype"] != "BYTES"]
    doubled = [[value * 2 for value in values] for values in numbers]
    texts = [str(entry["data"]) for entry in data if entry["datatype"] == "BYTES"]
    return [*doubled, *texts]
