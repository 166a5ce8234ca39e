"""An index's own memory as a tensor, without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vocab_index.store.kinds import Kind


class _Codes:
    """An index's own memory as numpy sees it: whoever holds the array holds this, and so the index."""

    def __init__(self, index: Any, kind: Kind) -> None:
        self._index = index
        self.__array_interface__ = {
            "data": (int(index.codes.data()), False),
            "shape": (index.ntotal, index.d),
            "typestr": "<f4" if kind == "flat" else "<f2",
            "version": 3,
        }


def mapped_matrix(index: Any, kind: Kind) -> Tensor:
    """The vectors of an index, (N, D), without a copy."""
    return torch.from_numpy(np.asarray(_Codes(index, kind)))
