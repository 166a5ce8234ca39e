"""The bins of the metrics are those of the scores."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from candor.calibration.bins import bin_index
from service.feedback.bins import BIN_NAMES, N_BINS, bin_of


@given(st.floats(0, 1) | st.integers(0, N_BINS).map(lambda b: b / N_BINS))
def test_a_confidence_has_the_bin_that_the_scores_give_it(confidence: float) -> None:
    assert bin_of(confidence) == bin_index(np.array([confidence]), N_BINS)[0]


def test_neighbours_of_every_edge() -> None:
    edges = np.arange(N_BINS + 1) / N_BINS
    near = np.clip(np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 1)]), 0, 1)
    assert [bin_of(c) for c in near.tolist()] == bin_index(near, N_BINS).tolist()


def test_names_are_lower_edges() -> None:
    assert (BIN_NAMES[0], BIN_NAMES[1], BIN_NAMES[19]) == ("0.00", "0.05", "0.95")
    assert [BIN_NAMES[bin_of(c)] for c in (0.05, 0.051, 1.0)] == ["0.00", "0.05", "0.95"]
