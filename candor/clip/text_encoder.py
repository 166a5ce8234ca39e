"""One text encoder for hard and soft prompts: the model's own function, run only where its result can depend on it.

A CLIP text tower attends causally and reads its feature at the end-of-text token. Two things follow, both exact:

- nothing behind a text's end-of-text token can change its feature, so no work is done there;
- positions that all prompts begin with (start token and shared context, or a template's opening words) have the same hidden
  states in every prompt, so they run once, and each prompt's own tokens run against their keys and values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from candor.clip.shared_prefix import Prefix, encode_prefix, encode_suffixes, has_plain_blocks
from candor.errors import InvalidInput


@dataclass(frozen=True)
class PromptEmbeddings:
    """Prompts as the text tower takes them, before positions are added.

    Attributes:
        prefix: token embeddings that every prompt begins with, (P, width), P >= 1.
        suffix: each prompt's own token embeddings behind the prefix, (C, S, width).
        eot_index: position of each prompt's end-of-text token in the whole prompt, (C,) int64, P <= index < P + S.
    """

    prefix: Tensor
    suffix: Tensor
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


def run_prefix(model: nn.Module, prompts: PromptEmbeddings) -> Prefix | None:
    """What later prompts with the same prefix need of it; None where the tower's blocks are not CLIP's plain ones.

    Args:
        model: an open_clip model with a causal text tower.
        prompts: gives the prefix; differentiable in it.
    """
    tower = text_tower(model)
    if not has_plain_blocks(tower.transformer):
        return None
    length = len(prompts.prefix)
    return encode_prefix(tower.transformer, _placed(tower, prompts.prefix, 0, length))


def encode_prompts(model: nn.Module, prompts: PromptEmbeddings, prefix: Prefix | None = None) -> Tensor:
    """Text features of prompts given as embeddings; differentiable in the embeddings.

    Args:
        model: an open_clip model with a causal text tower.
        prompts: C prompts.
        prefix: `run_prefix` of prompts with the same prefix, to use it again within a step.

    Returns:
        text_features, (C, embed_dim) float32, each of L2 norm 1.
    """
    tower = text_tower(model)
    start, stop = len(prompts.prefix), int(prompts.eot_index.max()) + 1
    prefix = prefix or run_prefix(model, prompts)
    if prefix is None:
        x = _encode_whole(tower, prompts, stop)
    else:
        suffix = _placed(tower, prompts.suffix[:, : stop - start], start, stop)
        x = encode_suffixes(tower.transformer, prefix, suffix, prompts.eot_index - start)
    x = tower.ln_final(x)
    projection = tower.text_projection
    if isinstance(projection, nn.Linear):
        x = projection(x)
    elif projection is not None:
        x = x @ projection
    return F.normalize(x.float(), dim=-1)


def _placed(tower: Any, embeddings: Tensor, start: int, stop: int) -> Tensor:
    """Embeddings with the positions start..stop added, in the tower's precision."""
    dtype = tower.transformer.get_cast_dtype()
    placed: Tensor = embeddings.to(dtype) + tower.positional_embedding[start:stop].to(dtype)
    return placed


def _encode_whole(tower: Any, prompts: PromptEmbeddings, stop: int) -> Tensor:
    """Hidden states at the end-of-text tokens by the tower's own blocks, (C, width): for blocks we do not know."""
    prefix = prompts.prefix.to(prompts.suffix.dtype).expand(len(prompts.suffix), -1, -1)
    x = _placed(tower, torch.cat([prefix, prompts.suffix], dim=1)[:, :stop], 0, stop)
    x = tower.transformer(x, attn_mask=tower.attn_mask[:stop, :stop])
    read: Tensor = x[torch.arange(len(x), device=x.device), prompts.eot_index]
    return read


def shared_length(model: nn.Module, tokens: Tensor) -> int:
    """How many tokens all texts begin with, at least the start token, and at most what stands before the first end of text.

    Args:
        model: an open_clip model.
        tokens: token ids, (C, L).
    """
    same = (tokens == tokens[0]).all(dim=0).long().cumprod(dim=0)
    return max(1, min(int(same.sum()), int(eot_positions(model, tokens).min())))


def encode_tokens(model: nn.Module, tokens: Tensor, shared: int | None = None, prefix: Prefix | None = None) -> Tensor:
    """Text features of token ids: `model.encode_text(tokens, normalize=True)` without the work that cannot matter.

    Args:
        model: an open_clip model with a causal text tower.
        tokens: token ids, (C, L) with L <= context_length; what stands behind the end of text is not read.
        shared: how many tokens the texts begin with alike; by default it is looked for.
        prefix: `prefix_of_tokens` of the same shared tokens, to use it for batch after batch.

    Returns:
        text_features, (C, embed_dim) float32, each of L2 norm 1.
    """
    eot_index = eot_positions(model, tokens)
    shared = shared or shared_length(model, tokens)
    embedding = text_tower(model).token_embedding
    suffix = embedding(tokens[:, shared : int(eot_index.max()) + 1])
    return encode_prompts(model, PromptEmbeddings(embedding(tokens[0, :shared]), suffix, eot_index), prefix)


def prefix_of_tokens(model: nn.Module, tokens: Tensor) -> Prefix | None:
    """`run_prefix` of token ids, (P,)."""
    embeddings = text_tower(model).token_embedding(tokens)
    return run_prefix(model, PromptEmbeddings(embeddings, embeddings[None, :0], torch.zeros(1, dtype=torch.int64)))
