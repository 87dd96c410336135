"""Tools for handlers, known to them as ``ts.handler_utils``."""
