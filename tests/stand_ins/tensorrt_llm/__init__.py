"""A stand-in for TensorRT-LLM, which needs a GPU: the calls that tserve makes, no others."""
