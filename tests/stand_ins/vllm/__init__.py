"""A stand-in for vLLM, which needs a GPU and gigabytes: the calls that tserve makes, no others.

Signatures are those of vLLM 0.33. The model counts: "one two three ..." up to ten, then it stops.
The words of a prompt may ask for something else: `slow`, `fail` (after two words), `die`, `refuse`.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from vllm.exceptions import VLLMClientError
from vllm.sampling_params import RequestOutputKind, SamplingParams

__version__ = "0.0.stand-in"

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@dataclass
class AsyncEngineArgs:
    model: str = "facebook/opt-125m"
    dtype: str = "auto"
    max_num_seqs: int | None = None
    max_model_len: int | None = None
    download_dir: str | None = None
    tensor_parallel_size: int = 1
    served_model_name: str | list | None = None
    enable_lora: bool = False


class Tokenizer:
    """A token is a word."""

    def __init__(self):
        self.words = []

    def encode(self, text):
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
        return [self.words.index(word) for word in text.split()]

    def decode(self, tokens):
        return " ".join(self.words[token] for token in tokens)

    def apply_chat_template(
        self,
        conversation,
        chat_template=None,
        add_generation_prompt=False,
        tokenize=True,
        return_dict=True,
    ):
        assert tokenize
        assert not return_dict
        for message in conversation:
            if message["role"] not in ("system", "user", "assistant"):
                raise ValueError(f"unknown role {message['role']}")
        texts = [f"<{message['role']}> {message['content']}" for message in conversation]
        if chat_template:
            texts.insert(0, chat_template)
        if add_generation_prompt:
            texts.append("<assistant>")
        return self.encode(" ".join(texts))


@dataclass
class Logprob:
    logprob: float
    rank: int
    decoded_token: str


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list
    logprobs: list | None
    finish_reason: str | None
    stop_reason: str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt_token_ids: list
    outputs: list
    finished: bool


class AsyncLLMEngine:
    def __init__(self, arguments):
        self.arguments = arguments
        self.tokens = Tokenizer()
        self.errored = False

    @classmethod
    def from_engine_args(cls, engine_args):
        return cls(engine_args)

    def get_tokenizer(self):
        return self.tokens

    async def generate(self, prompt, sampling_params, request_id, *, lora_request=None):
        assert isinstance(sampling_params, SamplingParams)
        assert lora_request is None or self.arguments.enable_lora
        try:
            tokens = (
                self.tokens.encode(prompt)
                if isinstance(prompt, str)
                else list(prompt["prompt_token_ids"])
            )
            asked = self.tokens.decode(tokens).split()
            if "refuse" in asked:
                raise VLLMClientError("the prompt is longer than the model's context")
            if "die" in asked:
                self.errored = True
                raise RuntimeError("the engine is dead")
            words = list(WORDS)
            if lora_request is not None:
                words.insert(0, f"{lora_request.lora_name}@{lora_request.lora_path}")
            limit = sampling_params.max_tokens
            if limit is None:
                limit = (self.arguments.max_model_len or 1000) - len(tokens)
            total = min(limit, len(words))
            reason = "length" if limit < len(words) else "stop"
            done = [[] for _ in range(sampling_params.n)]
            for number in range(total):
                await asyncio.sleep(1 if "slow" in asked else 0)
                if "fail" in asked and number == 2:
                    raise RuntimeError("the engine has failed")
                for choice in done:
                    choice.append(words[number])
                finish = reason if number + 1 == total else None
                if sampling_params.output_kind is RequestOutputKind.DELTA:
                    parts = [choice[-1:] for choice in done]
                elif finish:
                    parts = done
                else:
                    continue
                outputs = [
                    self.output(index, part, finish, sampling_params)
                    for index, part in enumerate(parts)
                ]
                yield RequestOutput(request_id, tokens, outputs, finish is not None)
        except (asyncio.CancelledError, GeneratorExit):
            if self.arguments.download_dir:
                Path(self.arguments.download_dir, "aborted").write_text(request_id)
            raise

    def output(self, index, words, finish, sampling_params):
        text = "".join(f" {word}" for word in words)
        ids = self.tokens.encode(text)
        logprobs = None
        if sampling_params.logprobs is not None:
            logprobs = [
                {token: Logprob(-0.5, 1, f" {word}"), 9999: Logprob(float("-inf"), 2, " other")}
                for token, word in zip(ids, words, strict=True)
            ]
        return CompletionOutput(index, text, ids, logprobs, finish)
