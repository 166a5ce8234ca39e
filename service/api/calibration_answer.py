"""The figures of `GET /v1/calibration`, and how they follow from counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, Field

from candor.calibration import drift, scores
from candor.calibration.bins import ReliabilityBins
from candor.calibration.limits import LEAST, LEAST_IN_BIN, PSI_LIMIT
from service.feedback.tallies import ScopeTotals
from service.metrics.counted import Counted
from service.reference import ScopeReference

# NaN is null: JSON has none
Defined = Annotated[float | None, BeforeValidator(lambda value: None if value is None or math.isnan(value) else value)]


class ReliabilityRow(BaseModel):
    """Labelled predictions whose confidence is above `low` and at most `high`; the first bin holds 0 too."""

    low: float
    high: float
    count: int
    confidence: Defined = Field(description="mean; null for an empty bin")
    accuracy: Defined = Field(description="share of correct ones; null for an empty bin")
    correct: int


class Labelled(BaseModel):
    """What the labels say that came back as feedback, of all replicas that share the store. Null where there are none."""

    count: int
    accuracy: Defined
    mean_confidence: Defined
    ece: Defined = Field(description="expected calibration error")
    ece_noise_floor: Defined = Field(description="the ECE that a calibrated model shows on this many by chance")
    mce: Defined = Field(description=f"largest error of a bin, of those with {LEAST_IN_BIN} labels and more")
    debiased_l2: Defined = Field(description="squared L2 error without the bias of small bins; may be below 0")
    gap: Defined = Field(description="mean confidence less accuracy: above 0 is over-confident")
    gap_floor: Defined = Field(description="two standard errors of the gap of a calibrated model")
    brier: Defined = Field(description="mean of (confidence - correct) squared")
    reliability: list[ReliabilityRow]


class Drift(BaseModel):
    """Confidence since the service started, beside the artifact's own evaluation. No labels are needed."""

    predictions: int
    mean_confidence: Defined
    psi: Defined = Field(description="population stability index over 20 bins")
    psi_floor: Defined = Field(description="what PSI exceeds by chance in 1 of 100 cases")
    ks: Defined = Field(description="Kolmogorov-Smirnov distance at the edges of the 20 bins")
    ks_floor: Defined = Field(description="what that exceeds by chance in 1 of 100 cases")
    wasserstein: Defined = Field(description="how far confidence moved on average")
    drifted: bool | None = Field(
        description=f"whether PSI is above {PSI_LIMIT} and above its floor; null without a reference or {LEAST} predictions"
    )


class Reference(BaseModel):
    """What the artifact's own evaluation saw."""

    predictions: int
    accuracy: Defined
    mean_confidence: Defined
    text_deviation: Defined
    divergence: Defined


class ScopeFigures(BaseModel):
    """Everything about labels of one scope."""

    labelled: Labelled | None = Field(description="null where no feedback is kept")
    drift: Drift
    reference: Reference | None = Field(description="null where the artifact brings none, as zero-shot")


class OpenSetCounts(BaseModel):
    """Images by whether they show one of their labels, since the service started, and labels that were none of them."""

    known: int
    unknown: int
    unscored: int = Field(description="not judged: not asked for, or without a threshold")
    outside: int | None = Field(description="feedback whose label was none of the request's; null where none is kept")


class LabelSets(BaseModel):
    """Labels that requests named, since the service started: means over requests."""

    text_deviation: Defined = Field(description="mean of 1 - cos(tuned, zero-shot)")
    divergence: Defined = Field(description="FD: mean distance of a label's text feature to its nearest others")


class CalibrationAnswer(BaseModel):
    """How true the confidence of one artifact is, and how far it has moved."""

    artifact: str
    bins: int = Field(description="of ece, its floor, mce, debiased_l2 and the table")
    window_seconds: float | None = Field(description="of the labelled figures, up to now; null is everything that is kept")
    scopes: dict[str, ScopeFigures] = Field(description='"base": labels that the prompt was tuned on; "new": others')
    open_set: OpenSetCounts
    label_sets: LabelSets


def labelled_of(totals: ScopeTotals, bins: int) -> Labelled:
    """Scores of feedback.

    Args:
        totals: of the feedback, 20 bins.
        bins: a number that 20 is a multiple of.
    """
    merged = totals.bins.merged(len(totals.bins.count) // bins)
    figures: dict[str, Callable[[ReliabilityBins], float]] = {
        "accuracy": scores.accuracy,
        "mean_confidence": scores.mean_confidence,
        "ece": scores.ece,
        "ece_noise_floor": scores.noise_floor,
        "debiased_l2": scores.debiased_l2,
        "gap": scores.gap,
        "gap_floor": scores.gap_floor,
    }
    count = int(merged.total)
    return Labelled(
        count=count,
        **{name: score(merged) for name, score in figures.items()},
        mce=scores.mce(merged, LEAST_IN_BIN),
        brier=totals.squared_error / count if count else None,
        reliability=[_row(merged, b) for b in range(bins)],
    )


def _row(bins: ReliabilityBins, b: int) -> ReliabilityRow:
    total, count, correct = len(bins.count), int(bins.count[b]), int(bins.correct[b])
    means = (bins.confidence[b] / count, correct / count) if count else (None, None)
    low, high = b / total, (b + 1) / total
    return ReliabilityRow(low=low, high=high, count=count, confidence=means[0], accuracy=means[1], correct=correct)


def drift_of(counts: NDArray[np.float64], mean_confidence: float, reference: ScopeReference | None) -> Drift:
    """Distances of confidence from the reference.

    Args:
        counts: predictions in each bin, (20,).
        mean_confidence: of them.
        reference: None leaves the distances undefined.
    """
    n, there = float(counts.sum()), reference is not None
    then = reference.counts if reference is not None else np.zeros_like(counts)
    m = float(then.sum())
    psi, floor = drift.psi(counts, then), drift.psi_floor(n, m, len(counts))
    return Drift(
        predictions=int(n),
        mean_confidence=mean_confidence,
        psi=psi,
        psi_floor=floor,
        ks=drift.ks(counts, then),
        ks_floor=drift.ks_floor(n, m),
        wasserstein=drift.wasserstein(counts, then),
        drifted=psi > max(PSI_LIMIT, floor) if there and n >= LEAST else None,
    )


def reference_of(kept: ScopeReference | None) -> Reference | None:
    """An artifact's own figures, as they are answered."""
    if kept is None:
        return None
    return Reference(
        predictions=int(kept.predictions),
        accuracy=kept.accuracy,
        mean_confidence=kept.confidence,
        text_deviation=kept.text_deviation,
        divergence=kept.divergence,
    )


def open_set_of(counted: Counted, outside: int | None) -> OpenSetCounts:
    """Predictions of both scopes by whether they show one of their labels.

    Args:
        counted: of the artifact.
        outside: feedback whose label was none of the request's.
    """
    number = {known: int(sum(scope[known] for scope in counted.known.values())) for known in ("true", "false", "unscored")}
    return OpenSetCounts(known=number["true"], unknown=number["false"], unscored=number["unscored"], outside=outside)
