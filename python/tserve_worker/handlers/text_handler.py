"""``TextHandler``: vocabulary, tokenizer and text cleaning.

Source: TorchServe ``ts/torch_handler/text_handler.py``.
"""

from __future__ import annotations

import abc
import functools
import os
import re
import string
import unicodedata
from typing import Any

import torch

from tserve_worker import _extras
from tserve_worker.handler_utils.text_utils import get_tokenizer
from tserve_worker.handlers import base_handler
from tserve_worker.handlers._contractions import CONTRACTIONS
from tserve_worker.utils.util import CLEANUP_REGEX

# The shorter of two that begin alike goes first, so that "can't've" is "cannotve": vocabularies
# were made from texts cleaned like that.
_CONTRACTION = re.compile(
    "|".join(map(re.escape, sorted(CONTRACTIONS, key=len))), flags=re.IGNORECASE
)


class TextHandler(base_handler.BaseHandler, abc.ABC):
    """Base of the text handlers.

    Attributes:
        source_vocab: number of each token.
        tokenizer: from a text to its tokens.
        input_text: the text of the running call.
        lig: captum's layer integrated gradients, made when it is first asked for.
    """

    def __init__(self) -> None:
        """Start without a vocabulary."""
        super().__init__()
        self.source_vocab: Any = None
        self.tokenizer: Any = get_tokenizer("basic_english")
        self.input_text: Any = None
        self.initialized = None

    def initialize(self, context: Any) -> None:
        """Load model and vocabulary.

        Raises:
            FileNotFoundError: the archive has no vocabulary.
        """
        super().initialize(context)
        self.initialized = False
        self.source_vocab = self.source_vocab or torch.load(self.get_source_vocab_path(context))
        self.initialized = True

    @functools.cached_property
    def lig(self) -> Any:
        """Return captum's integrated gradients of the model's layer ``embedding``.

        Raises:
            ModuleNotFoundError: captum is not installed.
        """
        attr = _extras.load("captum.attr")
        return attr.LayerIntegratedGradients(self.model, self.model.embedding)

    def get_source_vocab_path(self, ctx: Any) -> str:
        """Return the path of the vocabulary: the manifest's ``sourceVocab``, or its usual name.

        Raises:
            FileNotFoundError: there is no such file.
        """
        properties = ctx.system_properties
        model_dir = properties.get("model_dir")
        named = ((ctx.manifest or {}).get("model") or {}).get("sourceVocab")
        path = named or os.path.join(model_dir, "source_vocab.pt")
        if not os.path.isfile(path):
            raise FileNotFoundError(f"Missing the source_vocab file: {path}")
        return str(path)

    def _expand_contractions(self, text: str) -> str:
        """Write contractions out: "don't" is "do not"; the first letter keeps its case."""

        def expand(match: re.Match[str]) -> str:
            short = match.group(0)
            return short[0] + CONTRACTIONS[short.lower()][1:]

        return re.sub("'", "", _CONTRACTION.sub(expand, text))

    def _remove_accented_characters(self, text: str) -> str:
        """Drop accents, and whatever else is not ASCII."""
        decomposed = unicodedata.normalize("NFKD", text)
        return decomposed.encode("ascii", "ignore").decode("utf-8", "ignore")

    def _remove_html_tags(self, text: str) -> str:
        """Drop tags and entities."""
        return CLEANUP_REGEX.sub("", text)

    def _remove_puncutation(self, *args: Any, **kwargs: Any) -> Any:
        """Call ``_remove_punctuation``, whose name was misspelt once."""
        return self._remove_punctuation(*args, **kwargs)

    def _remove_punctuation(self, text: str) -> str:
        """Drop ASCII punctuation."""
        return text.translate(str.maketrans("", "", string.punctuation))

    def _tokenize(self, text: str) -> Any:
        """Split a text into tokens."""
        return self.tokenizer(text)

    def get_word_token(self, input_tokens: Any) -> list[str]:
        """Return tokens without the mark that byte-pair tokenizers put for a space."""
        return [token.replace("\u0120", "") for token in input_tokens]

    def summarize_attributions(self, attributions: Any) -> Any:
        """Scale attributions by the length of their sums over the last dimension.

        Args:
            attributions: of the embedding layer, shape (bags or tokens, embedding), or three
                dimensions with the batch first.

        Returns:
            the softmax over the second dimension of two, or the first of three, divided by the
            norm of its sums; same shape.
        """
        # What softmax chose when nobody named a dimension.
        shares = torch.softmax(attributions, dim=0 if attributions.dim() in (0, 1, 3) else 1)
        return shares / torch.norm(shares.sum(dim=-1))
