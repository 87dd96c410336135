"""Request envelopes, known as ``ts.torch_handler.request_envelope``.

The server's ``service_envelope`` names one for all models; it turns a body of some protocol into
what handlers expect, and their result back.
"""
