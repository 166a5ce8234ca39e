"""Recording rules of calibration: what the labels that came back say of the confidence that was given.

The formulas are those of `candor.calibration.scores`, over the bins of the service's counters. Every one is a function of
three sums per bin: number n_b, sum of confidence C_b, number correct K_b.
"""

from __future__ import annotations

from candor.calibration.limits import LEAST_IN_BIN
from monitoring.rule import SUM, Rule, at_least, increase

# Each of the three sums per bin, and the counter it is of.
_SUMS = {
    "feedback": "candor_feedback_total",
    "feedback_confidence": "candor_feedback_confidence_sum_total",
    "feedback_correct": "candor_feedback_correct_total",
}
_LEVELS = {"20": "candor_bin", "10": "candor_decile"}  # number of bins -> level of the sums


def calibration_rules(window: str) -> list[Rule]:
    """All rules of one window, in an order in which each finds what it needs recorded.

    Args:
        window: a duration, or `LIFETIME`.
    """
    binned = [rule for bins in _LEVELS for rule in _of_bins(window, bins)]
    return [*_sums(window), *binned, *_of_all(window)]


def _sums(window: str) -> list[Rule]:
    """The sums per bin, over instances and processes; and of bins in pairs, told by the first digit of their lower edge."""
    fine = [
        Rule(f"candor_bin:{name}:increase{window}", f"sum by (artifact, scope, bin) ({increase(counter, window)})")
        for name, counter in _SUMS.items()
    ]
    coarse = [
        Rule(
            f"candor_decile:{name}:increase{window}",
            "sum by (artifact, scope, decile) (\n"
            f'  label_replace(candor_bin:{name}:increase{window}, "decile", "$1", "bin", "(0\\\\.[0-9]).*")\n'
            ")",
        )
        for name in _SUMS
    ]
    return [*fine, *coarse, Rule(f"candor:feedback:increase{window}", f"{SUM} (candor_bin:feedback:increase{window})")]


def _of_bins(window: str, bins: str) -> list[Rule]:
    """The scores that depend on how many bins there are.

    ECE = sum_b |C_b - K_b| / N, which divides by no bin: an empty one adds 0. Its floor is what a perfectly calibrated
    model is expected to show: sum_b sqrt(2/pi C_b (1 - C_b/n_b)) / N. MCE = max_b |C_b - K_b| / n_b where n_b >= 10. The
    debiased squared L2 error (Kumar et al. 2019) = sum_b ((C_b - K_b)^2 / n_b - K_b (1 - K_b/n_b) / (n_b - 1)) / N, over
    bins of two or more.
    """
    level, all_of_them = _LEVELS[bins], at_least(f"candor:feedback:increase{window}")
    n, c, k = (f"{level}:{name}:increase{window}" for name in _SUMS)
    several = f"({n} > 1.5)"  # two or more: an increase need not be a whole number
    formulas = {
        "ece:ratio": f"{SUM} (abs({c} - {k}))\n  / {all_of_them}",
        "ece_floor:ratio": f"{SUM} (\n  sqrt(2 / pi() * {_variance(n, c)})\n) / {all_of_them}",
        "mce:ratio": (
            f"max by (artifact, scope) (\n  abs({c} - {k})\n    / {at_least(n, LEAST_IN_BIN)}\n)\nand {all_of_them}"
        ),
        "l2_debiased:ratio": (
            f"{SUM} (\n"
            f"  ({c} - {k}) ^ 2\n"
            f"    / {several}\n"
            "  -\n"
            f"  {k} * (1 - {k} / {several})\n"
            f"    / ({several} - 1)\n"
            f") / {all_of_them}"
        ),
    }
    return [Rule(f"candor:{name}{window}", expr, {"bins": bins}) for name, expr in formulas.items()]


def _of_all(window: str) -> list[Rule]:
    """The scores that bins do not change; the gap's floor is two standard errors of the gap of a calibrated model."""
    labelled = at_least(f"candor:feedback:increase{window}")
    n, c, k = (f"candor_bin:{name}:increase{window}" for name in _SUMS)
    squared_error = increase("candor_feedback_squared_error_total", window)
    formulas = {
        "gap:ratio": f"({SUM} ({c}) - {SUM} ({k}))\n  / {labelled}",
        "gap_floor:ratio": f"2 * sqrt({SUM} (\n  {_variance(n, c)}\n)) / {labelled}",
        "accuracy:ratio": f"{SUM} ({k}) / {labelled}",
        "brier:mean": f"{SUM} ({squared_error})\n  / {labelled}",
    }
    return [Rule(f"candor:{name}{window}", expr) for name, expr in formulas.items()]


def _variance(n: str, c: str) -> str:
    """Variance of the number correct in a bin of a calibrated model, n c (1 - c); never below 0 where sums are rounded."""
    return f"clamp_min({c} * (1 - {c} / ({n} > 0)), 0)"
