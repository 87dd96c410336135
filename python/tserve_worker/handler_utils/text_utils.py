"""Tokenizer and n-grams of the text handlers: ``ts.handler_utils.text_utils``.

Source: torchtext 0.5 ``data/utils.py``, which TorchServe carries on for handlers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_SPACED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"'", " '  "),
        (r'"', ""),
        (r"\.", " . "),
        (r"<br />", " "),
        (r",", " , "),
        (r"\(", " ( "),
        (r"\)", " ) "),
        (r"!", " ! "),
        (r"\?", " ? "),
        (r";", " "),
        (r":", " "),
        (r"\s+", " "),
    )
]
"""Punctuation to words or spaces, in this order."""


def ngrams_iterator(token_list: list[str], ngrams: int) -> Iterator[str]:
    """Yield the tokens, then the 2-grams up to ``ngrams``-grams, words joined by a space."""
    yield from token_list
    for size in range(2, ngrams + 1):
        for start in range(len(token_list) - size + 1):
            yield " ".join(token_list[start : start + size])


def get_tokenizer(tokenizer: str | None, language: str = "en") -> Callable[[str], list[str]] | None:
    """Return a function from a text to its tokens.

    Args:
        tokenizer: None splits at white space, ``basic_english`` also lowers case and separates
            punctuation.
        language: of ``basic_english``.

    Returns:
        the function; None for any other tokenizer.

    Raises:
        ValueError: ``basic_english`` for another language.
    """
    if tokenizer is None:
        return str.split
    if tokenizer != "basic_english":
        return None
    if language != "en":
        raise ValueError("basic normalization is only available for English (en)")
    return _normalize_english


def _normalize_english(line: str) -> list[str]:
    """Lower a text and split it into words and punctuation."""
    line = line.lower()
    for pattern, replacement in _SPACED:
        line = pattern.sub(replacement, line)
    return line.split()
