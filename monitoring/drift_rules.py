"""Recording rules of drift: what can be told of the answers before any label comes back.

Confidence is compared with what the artifact gave on held-out images of its own data, which the service exports as gauges.
The formulas are those of `candor.calibration.drift`.
"""

from __future__ import annotations

import math

from candor.calibration.drift import ks_floor, psi_floor
from candor.calibration.limits import LEAST
from monitoring.rule import N_BINS, ON, SUM, Rule, at_least, increase

# Floors of a single prediction against endless ones: the factors before the sizes.
_CHI_SQUARE = psi_floor(1, math.inf, N_BINS)
_KOLMOGOROV = ks_floor(1, math.inf)

_REFERENCE_SIZE = "(max by (artifact, scope) (candor_reference_predictions) > 0)"


def reference_rules() -> list[Rule]:
    """The share of each bin in the reference, with half a prediction added to each bin, so that no share is 0."""
    share, per_scope = "max by (artifact, scope, bin) (candor_reference_confidence_ratio)", f"{ON} group_left ()"
    count = f"{share} * {per_scope} {_REFERENCE_SIZE}"
    expr = f"({count} + 0.5)\n  / {per_scope} ({_REFERENCE_SIZE} + {N_BINS / 2:g})"
    return [Rule("candor_bin:reference_share:ratio", expr)]


def drift_rules(window: str) -> list[Rule]:
    """All rules of one window, in an order in which each finds what it needs recorded; after those of calibration.

    Args:
        window: a duration, or `LIFETIME`.
    """
    return [*_counts(window), *_of_shares(window), *_of_distributions(window), *_of_label_sets(window)]


def _counts(window: str) -> list[Rule]:
    n, labelled = f"candor:predictions:increase{window}", f"candor:feedback:increase{window}"
    binned = increase("candor_confidence_bin_total", window)
    total, number = (increase(f"candor_confidence_{part}", window) for part in ("sum", "count"))
    return [
        Rule(f"candor_bin:predictions:increase{window}", f"sum by (artifact, scope, bin) ({binned})"),
        Rule(n, f"{SUM} (candor_bin:predictions:increase{window})"),
        Rule(f"candor:feedback_coverage:ratio{window}", f"{labelled} / {at_least(n)}"),
        Rule(f"candor:confidence:mean{window}", f"{SUM} ({total})\n  / ({SUM} ({number}) >= {LEAST})"),
    ]


def _of_shares(window: str) -> list[Rule]:
    """PSI = sum_b (p_b - q_b) ln(p_b / q_b), shares with half a prediction added to each bin.

    Of n predictions and m of the reference it passes chi2_(19, .99) (1/n + 1/m) by chance once in a hundred.
    """
    n = f"candor:predictions:increase{window}"
    share, reference = f"candor_bin:confidence_share:ratio{window}", "candor_bin:reference_share:ratio"
    formulas = {
        share: (
            f"(candor_bin:predictions:increase{window} + 0.5)\n  / {ON} group_left () ({at_least(n)} + {N_BINS / 2:g})"
        ),
        f"candor:psi:ratio{window}": f"{SUM} (\n  ({share} - {reference})\n    * ln({share} / {reference})\n)",
        f"candor:psi_floor:ratio{window}": f"{_CHI_SQUARE:.12g} * (1 / {at_least(n)} + 1 / {_REFERENCE_SIZE})",
    }
    return [Rule(name, expr) for name, expr in formulas.items()]


def _of_distributions(window: str) -> list[Rule]:
    """KS = max |F - G| and Wasserstein = sum |F - G| / 20 of the cumulative shares F of now and G of the reference."""
    n, cdf = f"candor:predictions:increase{window}", f"candor_le:confidence_cdf:ratio{window}"
    buckets, number = (increase(f"candor_confidence_{part}", window) for part in ("bucket", "count"))
    distance = f"abs({cdf} - on (artifact, scope, le) max by (artifact, scope, le) (candor_reference_confidence_cdf_ratio))"
    formulas = {
        cdf: (f"sum by (artifact, scope, le) ({buckets})\n  / {ON} group_left () ({SUM} ({number}) >= {LEAST})"),
        f"candor:ks:ratio{window}": f"max by (artifact, scope) (\n  {distance}\n)",
        f"candor:ks_floor:ratio{window}": f"{_KOLMOGOROV:.12g} * sqrt(1 / {at_least(n)} + 1 / {_REFERENCE_SIZE})",
        f"candor:wasserstein:ratio{window}": f"{1 / N_BINS:g} * {SUM} (\n  {distance}\n)",
    }
    return [Rule(name, expr) for name, expr in formulas.items()]


def _of_label_sets(window: str) -> list[Rule]:
    """Images that show none of their labels, and the labels that requests name. Per artifact."""
    by_artifact, judged = "sum by (artifact)", f"candor:judged:increase{window}"
    labelled = f"candor:feedback:increase{window}"
    outside = f"{by_artifact} ({increase('candor_feedback_outside_total', window)})"
    unknown = increase('candor_predictions_total{known="false"}', window)
    either = increase('candor_predictions_total{known=~"true|false"}', window)
    means = {
        f"candor:{name}:mean{window}": (
            f"{by_artifact} ({increase(f'candor_{name}_sum', window)})\n"
            f"  / ({by_artifact} ({increase(f'candor_{name}_count', window)}) >= {LEAST})"
        )
        for name in ("text_deviation", "divergence")
    }
    formulas = {
        judged: f"{by_artifact} ({either})",
        f"candor:open_set:ratio{window}": f"{by_artifact} ({unknown})\n  / {at_least(judged)}",
        f"candor:feedback_outside:ratio{window}": (f"{outside}\n  / ({outside} + {by_artifact} ({labelled}) >= {LEAST})"),
    }
    return [Rule(name, expr) for name, expr in (formulas | means).items()]
