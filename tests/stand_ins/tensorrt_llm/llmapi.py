"""The LLM interface of the stand-in: the model says the prompt again, word by word."""

import asyncio
from dataclasses import dataclass
from pathlib import Path


@dataclass
class KvCacheConfig:
    free_gpu_memory_fraction: float | None = None


@dataclass
class SamplingParams:
    max_tokens: int = 32
    temperature: float | None = None


@dataclass
class Output:
    text: str


class Result:
    def __init__(self, words, report):
        self.words = words
        self.report = report
        self.outputs = [Output("")]

    def __await__(self):
        async def whole():
            async for _ in self:
                pass
            return self

        return whole().__await__()

    async def __aiter__(self):
        for word in self.words:
            await asyncio.sleep(0.05 if "slow" in self.words else 0)
            text = f"{self.outputs[0].text} {word}"
            self.outputs = [Output(text)]
            yield self

    def abort(self):
        self.report.write_text("aborted")


class LLM:
    def __init__(self, model, tokenizer=None, kv_cache_config=None, max_batch_size=None):
        assert Path(model).is_dir()
        assert kv_cache_config is None or isinstance(kv_cache_config, KvCacheConfig)
        self.report = Path(model, "aborted")

    def generate_async(self, inputs, sampling_params, streaming=False):
        return Result(inputs.split()[: sampling_params.max_tokens], self.report)
