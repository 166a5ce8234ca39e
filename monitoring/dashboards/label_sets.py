"""The dashboard of label sets: what is the service asked to tell apart?"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards.board import Row, board
from monitoring.dashboards.panels import PLAIN, SHARE, Panel, heat, lines, runbook
from monitoring.dashboards.queries import OF_ARTIFACT, SCOPED, WHOSE, Query, constant, mean, per_second, quantile, rule

SIZE = """How many labels requests name. The darker a cell, the more requests (its row is the bucket's upper edge). \
More labels mean lower confidence for the same image: look here first when mean confidence moves."""

SIZES = """Half of the requests name at most so many labels (p50), nearly all at most the upper line (p95), as exactly \
as the buckets of the histogram tell. A step is a new caller or a new label set."""

DEVIATION = """Text deviation of each request's label set: mean 1 − cos(tuned, hand-written). A second dark band is a \
second kind of label set. Small is safe: the tuned text is then close to the hand-written one, whose calibration is \
known."""

DEVIATION_MEAN = """The mean of the picture on the left. Dashed: of the artifact's base labels and of the held-out \
ones it was evaluated on. Between the two is what was tested; above both is not."""

DIVERGENCE = """Feature divergence of each request's label set: mean distance of a label to its nearest in the set. \
Low rows are sets whose labels resemble each other."""

DIVERGENCE_MEAN = """The mean of the picture on the left. Dashed: of the artifact's base and held-out labels. Sets far \
below both ask for finer distinctions than the artifact was evaluated on."""

SCOPES = """Predictions by what was predicted: a *base* label (the prompt was tuned on it) or a *new* one. A growing \
share of *new* is a reason to look at the reliability of *new*, or to tune again with the labels that matter."""

KNOWN = """Whether images show any of their labels, as the open-set score says: *true*, *false*, or *unscored* (not \
asked for, or the artifact has no threshold for this vocabulary)."""


def label_sets_dashboard(windows: Sequence[str]) -> Dashboard:
    """How many labels, how near to each other, how far from what the artifact knows.

    Args:
        windows: of the recording rules.
    """
    text = "What callers ask for: number of labels, text deviation, divergence, and the share of base and new."
    rows = (
        Row("Size", _sizes()),
        Row("Text deviation and divergence", _features()),
        Row("What was predicted", _predictions()),
    )
    return board("candor-label-sets", "Candor: label sets", text, rows, ("artifact", "scope", "window"), windows)


def _sizes() -> tuple[Panel, ...]:
    half, most = (Query(quantile("candor_label_set_size", q), f"p{q * 100:.0f}") for q in (0.5, 0.95))
    return (
        heat("Labels of a request", SIZE, PLAIN, "candor_label_set_size"),
        lines("Labels of a request, p50 and p95", SIZES, PLAIN, half, most, least=0),
    )


def _features() -> tuple[Panel, ...]:
    return (
        heat("Text deviation", DEVIATION, PLAIN, "candor_text_deviation", OF_ARTIFACT),
        _mean("Mean text deviation", DEVIATION_MEAN, "text_deviation"),
        heat("Divergence", DIVERGENCE, PLAIN, "candor_divergence", OF_ARTIFACT),
        _mean("Mean divergence", DIVERGENCE_MEAN, "divergence"),
    )


def _mean(title: str, reads: str, name: str) -> Panel:
    seen = Query(mean(f"candor_{name}", "artifact", OF_ARTIFACT), "{{artifact}}")
    window = Query(rule(f"candor:{name}:mean", OF_ARTIFACT), "{{artifact}} over the window")
    reference = Query(constant(f"candor_reference_{name}", matchers=OF_ARTIFACT), f"{WHOSE} labels", bound=True)
    return lines(title, reads, PLAIN, seen, window, reference, least=0)


def _predictions() -> tuple[Panel, ...]:
    parts = {"scope": SCOPED, "known": SCOPED}
    by_scope, by_known = (
        Query(
            f"{per_second('candor_predictions_total', label, matchers)} / on () group_left () "
            f"({per_second('candor_predictions_total', '', matchers)} > 0)",
            f"{{{{{label}}}}}",
        )
        for label, matchers in parts.items()
    )
    return (
        lines("Base and new", SCOPES, SHARE, by_scope, least=0, most=1, stacked=True),
        lines("Known images", KNOWN, SHARE, by_known, least=0, most=1, stacked=True).links([runbook("CandorOpenSetSurge")]),
    )
