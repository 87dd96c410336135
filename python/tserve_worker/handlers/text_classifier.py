"""``TextClassifier``: the probability of every class of a text; one request at a time.

Source: TorchServe ``ts/torch_handler/text_classifier.py``.
"""

from __future__ import annotations

from typing import Any

import torch

from tserve_worker import _extras
from tserve_worker.handler_utils.text_utils import ngrams_iterator
from tserve_worker.handlers import base_handler, text_handler
from tserve_worker.utils.util import map_class_to_label


class TextClassifier(text_handler.TextHandler):
    """Answers a text with ``{label: probability}``, all classes.

    Attributes:
        ngrams: longest run of words that is a token.
    """

    ngrams = 2

    def preprocess(self, data: Any) -> Any:
        """Clean the first text of the batch and number its tokens.

        Args:
            data: one dict, whose ``data`` or ``body`` is the text; further ones do not count.

        Returns:
            (int64 numbers of the tokens, shape (N,); the words).

        Raises:
            KeyError: the vocabulary lacks a token.
        """
        row = data[0]
        text = row.get("data") or row.get("body")
        if isinstance(text, (bytes, bytearray)):
            text = text.decode("utf-8")
        text = self._expand_contractions(self._remove_html_tags(text).lower())
        words = self._tokenize(self._remove_punctuation(self._remove_accented_characters(text)))
        numbers = [self.source_vocab[token] for token in ngrams_iterator(words, self.ngrams)]
        return torch.as_tensor(numbers, device=self.device), words

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the model with the tokens and the offset of the only text.

        Args:
            data: result of ``preprocess``.
            args: not used.
            kwargs: not used.

        Returns:
            scores, shape (1, classes).
        """
        tokens, _ = data
        return super().inference(tokens, torch.as_tensor([0], device=self.device))

    def postprocess(self, data: Any) -> Any:
        """Turn scores of shape (1, classes) into the one answer."""
        probabilities = torch.nn.functional.softmax(data, dim=1)
        return map_class_to_label(probabilities.tolist(), self.mapping)

    def get_insights(self, text_preprocess: Any, _: Any, target: Any = 0) -> Any:
        """Attribute the score of a class to the tokens, by layer integrated gradients.

        Args:
            text_preprocess: result of ``preprocess``.
            target: class to explain.

        Returns:
            ``[{"importances": [...], "words": [...]}]``.

        Raises:
            ModuleNotFoundError: captum is not installed.
        """
        attr = _extras.load("captum.attr")
        tokens, words = text_preprocess
        reference = attr.TokenReferenceBase()
        baseline = reference.generate_reference(tokens.shape[0], device=self.device).squeeze(0)
        attributions = self.lig.attribute(
            tokens,
            baseline,
            additional_forward_args=torch.tensor([0], device=self.device),
            return_convergence_delta=False,
            target=base_handler.class_number(target),
        )
        importances = self.summarize_attributions(attributions).tolist()
        return [{"importances": importances, "words": self.get_word_token(words)}]
