"""`candor vocab search`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from cli.console import console, one_line_errors
from cli.options import Device
from cli.vocab.words import Index, IndexWeights, load_index, word_table
from training.datasets.files import open_image
from vocab_index.index import Neighbour, VocabularyIndex
from vocab_index.labels import label_features

ARTICLE = re.compile(r"^(a|an|the) ", re.IGNORECASE)


@one_line_errors
def search(
    index: Index,
    image: Annotated[list[Path] | None, typer.Option(help="image file; repeatable")] = None,
    text: Annotated[list[str] | None, typer.Option(help="word or phrase; repeatable")] = None,
    k: Annotated[int, typer.Option("--k", "-k", help="words an image or text")] = 10,
    raw: Annotated[bool, typer.Option("--raw", help="encode a --text as it is, not in the index's own prompts")] = False,
    pretrained: IndexWeights = None,
    device: Device = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="print the words with all that is known of them as JSON")] = False,
) -> None:
    """Look an image or a text up: the words of a vocabulary that are nearest to it, by cosine under the index's model.

    A --text is compared as a word of the vocabulary: without the article before it, and in the prompts that the index was
    built with, so "a small dog" becomes "a photo of a small dog.". Give --raw with a text that is a whole prompt.
    Cosines of an image are much smaller than those of a text; only their order can be compared.

    Example: candor vocab search --index runs/wordnet --text "a small dog"

    An image: candor vocab search --index runs/wordnet --image photo.jpg -k 5
    """
    if bool(image) == bool(text):
        raise InvalidInput("give --image or --text, one of them, as often as you like")
    if raw and not text:
        raise InvalidInput("--raw is about a --text; an image has no prompt")
    clip, vocabulary = load_index(index, pretrained, device)
    if image:
        queries: Sequence[str] = [str(path) for path in image]
        features = clip.encode_images(open_image(path) for path in image)
    else:
        queries = text or ()
        features = clip.encode_text(queries) if raw else _in_prompts(clip, vocabulary, queries)
    found = vocabulary.search(features, k)
    if as_json:
        console.print_json(json.dumps(_document(vocabulary, queries, found)))
        return
    for query, words in zip(queries, found, strict=True):
        rows = [((near.word, f"{near.similarity:.3f}"), near.metadata) for near in words]
        console.print(query, soft_wrap=True)
        console.print(word_table(rows, ("label", "similarity")))


def _in_prompts(clip: Backbone, vocabulary: VocabularyIndex, texts: Sequence[str]) -> Tensor:
    """Features of texts in the place of the vocabulary's words, which have no article unless it is part of a name."""
    blank = [text for text in texts if not text.strip()]
    if blank:
        raise InvalidInput(f"--text {blank[0]!r} is blank")
    phrases = [" ".join(text.split()) for text in texts]
    names = {word.casefold() for word in vocabulary.words}
    words = [phrase if phrase.casefold() in names else ARTICLE.sub("", phrase, count=1) for phrase in phrases]
    return label_features(clip, vocabulary.templates, words)


def _document(vocabulary: VocabularyIndex, queries: Sequence[str], found: Sequence[Sequence[Neighbour]]) -> dict[str, Any]:
    results = [
        {
            "query": query,
            "nearest": [{"label": n.word, "similarity": n.similarity, "metadata": dict(n.metadata)} for n in words],
        }
        for query, words in zip(queries, found, strict=True)
    ]
    return {"vocabulary": vocabulary.source, "words": len(vocabulary), "results": results}
