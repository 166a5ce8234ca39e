"""One text encoder for hard and soft prompts: the model's own function, run only as far as the text goes.

A CLIP text tower attends causally and reads its feature at the end-of-text token, so nothing behind the longest
end-of-text of a batch can change the result. Cutting there is exact, and saves most of the 77 positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from candor.errors import InvalidInput


@dataclass(frozen=True)
class PromptEmbeddings:
    """Prompts as the text tower takes them, before positions are added.

    Attributes:
        embeddings: token embeddings, (C, L, width).
        eot_index: position of each prompt's end-of-text token, (C,) int64, each < L.
    """

    embeddings: Tensor
    eot_index: Tensor


def text_tower(model: nn.Module) -> Any:
    """The module that holds the text tower's parts: the model itself (class CLIP) or `model.text` (CustomTextCLIP).

    Raises:
        InvalidInput: the tower is not causal or does not read its feature at the end-of-text token, so a prompt could
            not be cut there (SigLIP, CoCa and Hugging Face towers).
    """
    tower: Any = model if hasattr(model, "token_embedding") else getattr(model, "text", None)
    pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
    if (
        pool not in ("argmax", "eos")
        or getattr(tower, "attn_mask", None) is None
        or getattr(tower, "cls_emb", None) is not None
    ):
        raise InvalidInput(
            f"{type(model).__name__} with text pooling {pool!r} is not supported: prompts need a causal text tower that "
            "reads its feature at the end-of-text token (pooling 'argmax' or 'eos')"
        )
    return tower


def eot_positions(model: nn.Module, tokens: Tensor) -> Tensor:
    """Where the tower reads each text's feature.

    Args:
        model: an open_clip model.
        tokens: token ids, (C, context_length).

    Returns:
        Positions, (C,) int64.
    """
    tower = text_tower(model)
    if getattr(tower, "text_pool_type", getattr(tower, "pool_type", None)) == "argmax":
        return tokens.argmax(dim=-1)
    eos_id: int = tower.text_eos_id if hasattr(tower, "text_eos_id") else tower.eos_id
    return tokens.eq(eos_id).int().argmax(dim=-1)


def encode_prompts(model: nn.Module, prompts: PromptEmbeddings) -> Tensor:
    """Text features of prompts given as embeddings; differentiable in the embeddings.

    Args:
        model: an open_clip model with a causal text tower.
        prompts: C prompts of at most L tokens.

    Returns:
        text_features, (C, embed_dim) float32, each of L2 norm 1.
    """
    tower = text_tower(model)
    dtype = tower.transformer.get_cast_dtype()
    length = int(prompts.eot_index.max()) + 1
    x = prompts.embeddings[:, :length].to(dtype) + tower.positional_embedding[:length].to(dtype)
    x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
    x = x[torch.arange(len(x), device=x.device), prompts.eot_index]
    x = tower.ln_final(x)
    projection = tower.text_projection
    if isinstance(projection, nn.Linear):
        x = projection(x)
    elif projection is not None:
        x = x @ projection
    return F.normalize(x.float(), dim=-1)


def encode_tokens(model: nn.Module, tokens: Tensor) -> Tensor:
    """Text features of token ids: `model.encode_text(tokens, normalize=True)` without the work behind the last text.

    Args:
        model: an open_clip model with a causal text tower.
        tokens: token ids, (C, context_length).

    Returns:
        text_features, (C, embed_dim) float32, each of L2 norm 1.
    """
    eot_index = eot_positions(model, tokens)
    embeddings = text_tower(model).token_embedding(tokens[:, : int(eot_index.max()) + 1])
    return encode_prompts(model, PromptEmbeddings(embeddings, eot_index))
