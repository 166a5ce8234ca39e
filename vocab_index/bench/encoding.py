"""Encoding words: ours against the model's own function on all text positions."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from candor.clip.backbone import Backbone
from candor.clip.templates import DEFAULT_TEMPLATE, fill
from candor.clip.text_encoder import eot_positions, shared_length
from vocab_index.bench.figures import Figure, parity
from vocab_index.bench.timing import fastest
from vocab_index.encoding import Encoding
from vocab_index.sources.wordnet import nouns
from vocab_index.sources.words import WordList

NAIVE_BATCH = 256
TOLERANCE = 1e-4  # of features; both are float32 sums of other orders
SHARE = 0.7  # of what token counts allow


def bench_encoding(load: Callable[[], Backbone], words: int, repeats: int) -> tuple[Figure, ...]:
    """A seeded sample of WordNet's nouns through both, tokens given.

    Ours runs them as a build does, sorted by length across the sample. A build sorts the whole vocabulary, so its
    batches are more even than these.

    Args:
        load: gives the model; its weights do not matter.
        words: sample size.
        repeats: turns of each way.
    """
    backbone = load()
    sample = tuple(random.Random(0).sample(nouns(), words))
    tokens = backbone.tokenize(fill(DEFAULT_TEMPLATE, sample))
    encoding = Encoding.of(backbone, WordList("sample", sample, {}), DEFAULT_TEMPLATE)
    difference = (torch.from_numpy(encoding.run()).to(backbone.device) - naive(backbone, tokens)).abs().max()
    found = fastest({"ours": encoding.run, "naive": lambda: naive(backbone, tokens)}, repeats)
    return figures(found["ours"], found["naive"], mean_own_tokens(backbone, tokens), difference.item(), tokens.shape)


@torch.inference_mode()
def naive(backbone: Backbone, tokens: Tensor) -> Tensor:
    """`model.encode_text` on whole texts of 77 tokens, in the order given, (N, D)."""
    return torch.cat(
        [backbone.model.encode_text(batch, normalize=True).float() for batch in torch.split(tokens, NAIVE_BATCH)]
    )


def mean_own_tokens(backbone: Backbone, tokens: Tensor) -> float:
    """Mean number of a text's own tokens: behind what all texts begin with, up to and including the end of text."""
    own = eot_positions(backbone.model, tokens) + 1 - shared_length(backbone.model, tokens)
    return float(own.double().mean())


def figures(ours: float, naive: float, own: float, difference: float, shape: tuple[int, ...]) -> tuple[Figure, ...]:
    """The section's figures.

    Args:
        ours: seconds for all texts.
        naive: seconds for all texts.
        own: `mean_own_tokens`.
        difference: largest of any feature's coordinate.
        shape: of the tokens, (N, context_length).
    """
    section = f"encode, {shape[0]:,} nouns"
    allowed = shape[1] / own
    return (
        Figure(section, f"against the model's encode_text on {shape[1]} tokens", ours, baseline=naive),
        Figure(section, "own tokens of a text, on average", own, ""),
        Figure(section, f"times as fast as token counts allow ({shape[1]} / {own:.2f})", allowed, ""),
        Figure(section, "share of that which is reached", naive / ours / allowed, "", least=SHARE),
        parity(section, "features differ by", difference, TOLERANCE),
    )
