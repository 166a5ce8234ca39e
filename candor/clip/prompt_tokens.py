"""Class names as the fixed part of a prompt: what a learner puts its context into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from candor.clip.backbone import Backbone, check_length
from candor.clip.templates import readable
from candor.clip.text_encoder import text_tower


@dataclass(frozen=True)
class TokenizedNames:
    """C names as the frozen embeddings of `[start] name "." [end]`.

    Attributes:
        names: the names, C of them.
        embeddings: (C, T, width); rows are padded with the embedding of token 0.
        name_end: index behind the last token of the name (where "." stands), (C,) int64.
        eot_index: index of the end-of-text token, (C,) int64.
    """

    names: tuple[str, ...]
    embeddings: Tensor
    name_end: Tensor
    eot_index: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Tensor) -> TokenizedNames:
        """The chosen rows, cut to the longest of them."""
        eot_index = self.eot_index[rows]
        embeddings = self.embeddings[rows, : int(eot_index.max()) + 1]
        return TokenizedNames(tuple(self.names[i] for i in rows.tolist()), embeddings, self.name_end[rows], eot_index)


def tokenize_names(backbone: Backbone, names: Sequence[str], n_ctx: int) -> TokenizedNames:
    """Tokenize class names for prompts with n_ctx context vectors.

    Args:
        backbone: gives the tokenizer and the frozen token embeddings.
        names: class names; underscores read as spaces.
        n_ctx: context vectors that must fit beside the name.

    Returns:
        The names with T = longest name + 3.

    Raises:
        InvalidInput: a name has no token or, with its context, does not fit the text tower; all such names are listed.
    """
    bodies = [backbone.bpe(readable(name) + ".") for name in names]
    room = backbone.context_length - 2 - n_ctx
    check_length([(name, len(body)) for name, body in zip(names, bodies, strict=True)], room)
    width = max(len(body) for body in bodies) + 2
    tokens = torch.zeros(len(bodies), width, dtype=torch.int64)
    for row, body in zip(tokens, bodies, strict=True):
        row[: len(body) + 2] = torch.tensor([backbone.tokenizer.sot_token_id, *body, backbone.tokenizer.eot_token_id])
    lengths = torch.tensor([len(body) for body in bodies], device=backbone.device)
    embeddings = text_tower(backbone.model).token_embedding(tokens.to(backbone.device)).detach()
    return TokenizedNames(tuple(names), embeddings, name_end=lengths, eot_index=lengths + 1)
