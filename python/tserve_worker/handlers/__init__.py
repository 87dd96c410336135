"""The packaged handlers, known as ``ts.torch_handler``; no other modules need torch."""

BUILTIN = (
    "base_handler",
    "dali_image_classifier",
    "image_classifier",
    "image_segmenter",
    "object_detector",
    "text_classifier",
    "trt_llm_handler",
    "vllm_handler",
)
"""Names that archives may give for a handler of their own."""

__all__ = ["BUILTIN"]
