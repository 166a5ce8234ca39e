"""The confidence bins of the service's metrics."""

from __future__ import annotations

import math

N_BINS = 20
BIN_NAMES = tuple(f"{b / N_BINS:.2f}" for b in range(N_BINS))  # by the lower edge: ten bins are the first digit


def bin_of(confidence: float) -> int:
    """The bin of one confidence, right edge closed, as `candor.calibration.bins.bin_index` has it.

    Args:
        confidence: 0..1.
    """
    b = min(max(math.ceil(confidence * N_BINS) - 1, 0), N_BINS - 1)
    if confidence <= b / N_BINS:  # the product was rounded up over an edge
        return max(b - 1, 0)
    return min(b + 1, N_BINS - 1) if confidence > (b + 1) / N_BINS else b
