"""A part of the stand-in for vLLM."""


class VLLMClientError(Exception):
    pass
