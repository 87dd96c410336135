"""Says which version of a package it sees, and which interpreter it runs in."""

import sys


def handle(data, context):
    if data is None:
        return None
    import tserve_test_package  # installed by the test

    seen = {"version": tserve_test_package.VERSION, "prefix": sys.prefix}
    return [seen for _ in data]
