"""Takes typed inputs as tensors of torch and answers them, with their types in `kinds`."""

typed_inputs = "torch"


def handle(data, context):
    if data is None:
        return None
    return [
        {**row, "kinds": [str(getattr(value, "dtype", "?")) for value in row.values()]}
        for row in data
    ]
