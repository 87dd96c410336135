"""Tells the device its worker was given."""


def handle(data, context):
    if data is None:
        return None
    return [{"gpu_id": context.system_properties["gpu_id"]}] * len(data)
