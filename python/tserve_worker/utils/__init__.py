"""Small tools for handlers, known to them as ``ts.utils``."""
