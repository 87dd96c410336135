"""A part of the stand-in for vLLM."""

from dataclasses import dataclass
from enum import Enum

from vllm.exceptions import VLLMClientError


class RequestOutputKind(Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    stop: list | None = None
    seed: int | None = None
    logit_bias: dict | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE

    def __post_init__(self):
        if self.temperature < 0:
            raise VLLMClientError(f"temperature must be non-negative, got {self.temperature}.")
