"""``TextIteratorStreamerBatch``: the text of a batch while a Hugging Face model generates it."""

from __future__ import annotations

from typing import Any

from tserve_worker.errors import MissingPackageError

try:
    from transformers.generation.streamers import BaseStreamer, TextIteratorStreamer
except ImportError as exc:
    raise MissingPackageError("ts.handler_utils.hf_batch_streamer", "transformers") from exc


class TextIteratorStreamerBatch(BaseStreamer):  # type: ignore[misc]
    """One text streamer per sequence of the batch, read in step.

    Give it to ``model.generate(streamer=...)`` in a thread and iterate over it in another.
    """

    def __init__(
        self,
        tokenizer: Any,
        batch_size: int,
        skip_prompt: bool = False,
        timeout: float | None = None,
        **decode_kwargs: Any,
    ) -> None:
        """Stream ``batch_size`` sequences.

        Args:
            tokenizer: turns tokens into text.
            batch_size: number of sequences.
            skip_prompt: leave out what was given to the model.
            timeout: seconds to wait for the next piece; None waits for ever.
            **decode_kwargs: passed to the tokenizer's ``decode``.
        """
        self.batch_size = batch_size
        self.streamers = [
            TextIteratorStreamer(tokenizer, skip_prompt, timeout, **decode_kwargs)
            for _ in range(batch_size)
        ]
        self.streamer_iterators = [iter(streamer) for streamer in self.streamers]

    def put(self, value: Any) -> None:
        """Take the next tokens, one row per sequence.

        Raises:
            ValueError: there are not as many rows as sequences.
        """
        if value.shape[0] != self.batch_size:
            raise ValueError(
                f"the batch has {self.batch_size} sequences, tokens came for {value.shape[0]}"
            )
        for streamer, row in zip(self.streamers, value.split(1), strict=True):
            streamer.put(row)

    def end(self) -> None:
        """Note that nothing more comes."""
        for streamer in self.streamers:
            streamer.end()

    def __iter__(self) -> TextIteratorStreamerBatch:
        """Iterate over pieces."""
        return self

    def __next__(self) -> list[dict[str, str]]:
        """Return the next piece of every sequence; the first that ends, ends all.

        Sequences of a batch end together: generation goes on until the last of them has ended.
        """
        return [{"text": next(iterator)} for iterator in self.streamer_iterators]
