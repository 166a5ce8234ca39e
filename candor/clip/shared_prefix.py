"""A causal transformer on prompts that begin alike: the prefix runs once, each suffix against its keys and values.

Suffixes differ in length. Everything that works on single tokens (layer norms, projections, MLPs: nearly all of the cost)
runs on the real tokens of all suffixes packed into one matrix; only attention sees them padded. The last block runs its
query and MLP for the end-of-text tokens alone, as nothing else of it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the shared tokens, block by block.

    Attributes:
        keys: (heads, P, head width) for each block.
        values: as keys.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


@dataclass(frozen=True)
class _Packing:
    """Where the N real tokens of C padded suffixes of length S stand.

    Attributes:
        shape: (C, S).
        places: for each packed token its place among C * S, (N,).
        last: packed row of each suffix's last token, (C,).
        visible: whether a token may see a key, (S, P + S): the prefix and what stands before it.
        inside: whether a key is prefix or a real token, (C, 1, 1, P + S).
    """

    shape: tuple[int, int]
    places: Tensor
    last: Tensor
    visible: Tensor
    inside: Tensor

    def pad(self, x: Tensor) -> Tensor:
        """(N, width) packed tokens as (C, S, width), zeros in the padding."""
        return x.new_zeros(self.shape[0] * self.shape[1], x.shape[1]).index_copy(0, self.places, x).view(*self.shape, -1)

    def pack(self, x: Tensor) -> Tensor:
        """(C, S, width) as its (N, width) real tokens."""
        return x.flatten(0, 1).index_select(0, self.places)


def has_plain_blocks(transformer: Any) -> bool:
    """Whether the blocks are CLIP's: pre-norm self-attention of torch's MultiheadAttention, then an MLP."""
    return all(
        isinstance(getattr(block, "attn", None), nn.MultiheadAttention)
        and block.attn.in_proj_weight is not None
        and block.attn.bias_k is None
        and not hasattr(block, "ln_1_kv")
        and all(hasattr(block, part) for part in ("ln_1", "ls_1", "ln_2", "mlp", "ls_2"))
        for block in transformer.resblocks
    )


def encode_prefix(transformer: Any, x: Tensor) -> Prefix:
    """Run the shared tokens.

    Args:
        transformer: with plain blocks.
        x: embeddings with positions, (P, width).
    """
    keys, values = [], []
    for number, block in enumerate(transformer.resblocks):
        query, key, value = _heads(block, _project(block, x))
        keys.append(key)
        values.append(value)
        if number < len(transformer.resblocks) - 1:  # behind the last block nobody reads the prefix
            attended = F.scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True)[0]
            x = _finish(block, x, attended.transpose(0, 1).flatten(1))
    return Prefix(tuple(keys), tuple(values))


def encode_suffixes(transformer: Any, prefix: Prefix, x: Tensor, last: Tensor) -> Tensor:
    """Hidden states of each suffix's last token.

    Args:
        transformer: with plain blocks.
        prefix: of `encode_prefix`.
        x: embeddings with positions, padded, (C, S, width).
        last: index of the last real token in each suffix, (C,).

    Returns:
        (C, width), before the final layer norm.
    """
    packing = _pack(last, x.shape[1], prefix.keys[0].shape[1])
    x = packing.pack(x)
    *blocks, final = transformer.resblocks
    for block, key, value in zip(blocks, prefix.keys, prefix.values, strict=False):
        x = _attend(block, x, key, value, packing)
    return _attend_last(final, x, prefix.keys[-1], prefix.values[-1], packing)


def _pack(last: Tensor, longest: int, prefix_length: int) -> _Packing:
    position = torch.arange(longest, device=last.device)
    real = position <= last[:, None]
    prefix = torch.ones(longest, prefix_length, dtype=torch.bool, device=last.device)
    visible = torch.cat([prefix, position <= position[:, None]], dim=1)
    inside = torch.cat([prefix[:1].expand(len(last), -1), real], dim=1)[:, None, None]
    return _Packing((len(last), longest), real.flatten().nonzero()[:, 0], (last + 1).cumsum(0) - 1, visible, inside)


def _project(block: Any, x: Tensor) -> Tensor:
    """Query, key and value of tokens side by side, (N, 3 width)."""
    return F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)


def _heads(block: Any, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value apart, (..., heads, N, head width) each."""
    apart = qkv.view(*qkv.shape[:-1], 3, block.attn.num_heads, -1)
    query, key, value = apart.movedim(-3, 0).transpose(-3, -2)
    return query, key, value


def _finish(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    """The rest of a block behind attention; (N, width) tokens and attention results."""
    x = x + block.ls_1(block.attn.out_proj(attended))
    finished: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
    return finished


def _behind(prefix: Tensor, own: Tensor) -> Tensor:
    """Keys or values that suffixes attend to: the prefix's, then their own; (C, heads, P + S, head width)."""
    return torch.cat([prefix.expand(len(own), -1, -1, -1), own], dim=2)


def _attend(block: Any, x: Tensor, prefix_key: Tensor, prefix_value: Tensor, packing: _Packing) -> Tensor:
    """One block on packed tokens, (N, width)."""
    query, key, value = _heads(block, packing.pad(_project(block, x)))
    attended = F.scaled_dot_product_attention(
        query, _behind(prefix_key, key), _behind(prefix_value, value), attn_mask=packing.visible
    )
    return _finish(block, x, packing.pack(attended.transpose(1, 2).flatten(2)))


def _attend_last(block: Any, x: Tensor, prefix_key: Tensor, prefix_value: Tensor, packing: _Packing) -> Tensor:
    """The final block for the last tokens only, (C, width)."""
    qkv = _project(block, x)
    _, key, value = _heads(block, packing.pad(qkv))
    query = _heads(block, qkv.index_select(0, packing.last)[:, None])[0]
    attended = F.scaled_dot_product_attention(
        query, _behind(prefix_key, key), _behind(prefix_value, value), attn_mask=packing.inside
    )
    return _finish(block, x.index_select(0, packing.last), attended[:, :, 0].flatten(1))
