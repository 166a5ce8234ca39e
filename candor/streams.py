"""Random streams: each use has a generator of its own, made from the seed and what it is for.

So a draw does not depend on what was drawn before it: a resumed run draws what an uninterrupted one does, and two methods
with the same seed see the same batches.
"""

from __future__ import annotations

import hashlib

import torch


def stream(seed: int, *use: object) -> torch.Generator:
    """A CPU generator for one use.

    Args:
        seed: of the run.
        use: what is drawn, such as ("batches", epoch); equal uses of equal seeds draw the same.
    """
    digest = hashlib.sha256(repr((seed, *use)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
