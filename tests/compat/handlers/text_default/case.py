"""The default `text_classifier` with a vocabulary, and its explanations."""

from pathlib import Path

from harness.gallery import Case, as_json, form, raw, text

WORDS = ["the", "film", "was", "good", "bad", "not", "do", "very", "i", "would", "like", "it"]


def build(folder: Path) -> None:
    import torch

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    for first in WORDS:
        for second in WORDS:
            vocabulary[f"{first} {second}"] = len(vocabulary)
    torch.save(vocabulary, folder / "source_vocab.pt")
    torch.manual_seed(5)
    weights = {
        "embedding.weight": torch.randn(len(vocabulary), 6),
        "fc.weight": torch.randn(3, 6),
        "fc.bias": torch.randn(3),
    }
    torch.save(weights, folder / "text.pt")


CASE = Case(
    handler="text_classifier",
    model_file="bag.py",
    serialized_file="text.pt",
    extra_files=["source_vocab.pt", "index_to_name.json"],
    build=build,
    needs=["captum"],
    steps=[
        text("The film was very good"),
        raw(b"the film was bad"),
        text("<b>The</b> film was&nbsp; n\u00f6t good!!! Very, bad."),
        text("I'd like it. Don't!"),
        form(("data", None, None, b"not good")),
        as_json("very bad"),
        text("an unheard word", status=503),
        raw(b"", status=503),
        text("the film was good").explained(),
        form(
            ("data", "t.txt", "text/plain", b"I do not like the film"),
            ("target", "t.json", "application/json", b"2"),
        ).explained(),
    ],
)
