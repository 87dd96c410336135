"""Tells what a handler finds around itself."""

import logging
import os
import sys


def handle(data, context):
    if data is None:
        return None
    here = os.path.realpath(os.getcwd())
    root = logging.getLogger()
    return [
        {
            "name": __name__,
            "in the model": here == os.path.realpath(context.system_properties["model_dir"]),
            "on the path": here in map(os.path.realpath, sys.path),
            "decode": os.environ.get("TS_DECODE_INPUT_REQUEST"),
            "level": root.level,
            "script": os.path.basename(sys.argv[0]),
            "gpu": context.system_properties.get("gpu_id"),
            "server": context.system_properties["server_name"],
            "batch": context.system_properties["batch_size"],
            "config": context.model_yaml_config,
            "version": context.manifest["model"]["modelVersion"],
            "handler": context.manifest["model"]["handler"],
            "keys": [context.header_key_sequence_id, context.header_key_sequence_end],
        }
    ]
