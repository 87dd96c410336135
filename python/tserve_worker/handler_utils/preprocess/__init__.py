"""Preprocessing outside of torch, known to handlers as ``ts.handler_utils.preprocess``."""
