"""The alerts, as a Prometheus rule file.

Those of calibration ask for size and evidence: a figure must matter (0.1, say) and exceed what chance alone would show.
Those of an artifact ask that it still answers: feedback on one that was switched away comes for days, and nobody can act
on it.
"""

from __future__ import annotations

from candor.calibration.limits import LEAST, PSI_LIMIT
from monitoring.alert import RUNBOOKS, Alert, AlertTimes
from monitoring.durations import INTERVAL
from monitoring.service_alerts import service_alerts
from monitoring.template import COUNT, NUMBER, PERCENT, figure, value

GAP = 0.1  # confidence and accuracy apart: one answer in ten
FLOORS = 2  # ECE must be so many times what a calibrated model shows
SURGE, SURGE_FACTOR, SURGE_ERRORS = 0.1, 2, 3  # share, times the usual one, standard errors
STARVING, STARVING_LEAST = 0.25, 20  # of the feedback that is usual, where that is at least 20
SCOPED = ("artifact", "scope")  # labels that a figure shares with its alert


def alerts(times: AlertTimes | None = None, interval: str = INTERVAL, runbooks: str = RUNBOOKS) -> dict[str, object]:
    """The rule file.

    Args:
        times: windows and patience; the defaults go with the default recording rules.
        interval: between evaluations.
        runbooks: address of the folder of runbooks.

    Returns:
        What a rule file holds, for `monitoring.yaml_text.yaml_text`.
    """
    rules = [alert.to_dict(runbooks) for alert in all_alerts(times or AlertTimes())]
    return {"groups": [{"name": "candor-alerts", "interval": interval, "rules": rules}]}


def all_alerts(times: AlertTimes) -> list[Alert]:
    """Every alert.

    Args:
        times: windows and patience.
    """
    calibration = [_overconfident(times), _underconfident(times)]
    return [*calibration, _drift(times), _open_set_surge(times), _starving(times), *service_alerts(times)]


def _answers(times: AlertTimes) -> str:
    return f"and on (artifact, scope) candor:predictions:increase{times.recent} > 0"


def _miscalibrated(times: AlertTimes, scope: str, sign: str) -> str:
    """A gap in one scope that matters and is no chance, in an artifact that answers."""
    gap, floor = f"candor:gap:ratio{times.scored}", f"candor:gap_floor:ratio{times.scored}"
    ece, ece_floor = (f"candor:{name}:ratio{times.scored}" for name in ("ece", "ece_floor"))
    beyond = f"> {GAP}\n  and {gap} > {floor}" if sign == "+" else f"< -{GAP}\n  and {gap} < -{floor}"
    return (
        f'{gap}{{scope="{scope}"}} {beyond}\n'
        f'  and on (artifact, scope) {ece}{{bins="10"}} > {FLOORS} * {ece_floor}{{bins="10"}}\n'
        f"  {_answers(times)}"
    )


def _evidence(times: AlertTimes) -> str:
    def of_scope(name: str, **labels: str) -> str:
        return figure(f"candor:{name}:ratio{times.scored}", SCOPED, PERCENT, **labels)

    return (
        f"Over {times.scored}, mean confidence minus accuracy is {value(PERCENT)}.\n"
        f"Chance alone would give up to {of_scope('gap_floor')} either way.\n"
        f"Accuracy {of_scope('accuracy')}.\n"
        f"ECE in 10 bins {of_scope('ece', bins='10')}, of a calibrated model {of_scope('ece_floor', bins='10')}.\n"
        f"Labelled answers: {figure(f'candor:feedback:increase{times.scored}', SCOPED, COUNT)}.\n"
    )


def _overconfident(times: AlertTimes) -> Alert:
    return Alert(
        "CandorOverconfidentOnNew",
        _miscalibrated(times, "new", "+"),
        times.hold,
        "warning",
        f"{{{{ $labels.artifact }}}} is over-confident on new labels by {value(PERCENT)}",
        f"{_evidence(times)}Whoever accepts answers above a threshold accepts more wrong ones than it says.",
    )


def _underconfident(times: AlertTimes) -> Alert:
    return Alert(
        "CandorUnderconfidentOnBase",
        _miscalibrated(times, "base", "-"),
        times.hold,
        "warning",
        f"{{{{ $labels.artifact }}}} is under-confident on base labels: gap {value(PERCENT)}",
        f"{_evidence(times)}Right answers are sent to a person for nothing.",
    )


def _drift(times: AlertTimes) -> Alert:
    psi, floor = f"candor:psi:ratio{times.scored}", f"candor:psi_floor:ratio{times.scored}"
    return Alert(
        "CandorConfidenceDrift",
        f"{psi} > {PSI_LIMIT}\n  and {psi} > {floor}\n  {_answers(times)}",
        times.hold,
        "warning",
        f"Confidence of {{{{ $labels.artifact }}}} on {{{{ $labels.scope }}}} labels has drifted: PSI {value(NUMBER)}",
        f"Over {times.scored}, PSI of confidence against the artifact's reference is {value(NUMBER)}.\n"
        f"Chance alone would give up to {figure(floor, SCOPED, NUMBER)}.\n"
        f"KS distance {figure(f'candor:ks:ratio{times.scored}', SCOPED, NUMBER)}.\n"
        f"Mean confidence {figure(f'candor:confidence:mean{times.scored}', SCOPED, PERCENT)}, "
        f"in the reference {figure('candor_reference_mean_confidence_ratio', SCOPED, PERCENT)}.\n"
        "Images or labels are not those of the evaluation. Whether confidence is still true, only feedback can tell.",
    )


def _open_set_surge(times: AlertTimes) -> Alert:
    """Twice the usual share, a tenth more and three standard errors more: small shares and small samples double easily."""
    now, usual = f"candor:open_set:ratio{times.recent}", f"candor:open_set:ratio{times.usual}"
    deviation = f"sqrt({usual} * (1 - {usual}) / candor:judged:increase{times.recent})"
    limits = f"{SURGE_FACTOR} * {usual}", f"{usual} + {SURGE}", f"{usual} + {SURGE_ERRORS} * {deviation}"
    return Alert(
        "CandorOpenSetSurge",
        "\n  and ".join(f"{now} > {limit}" for limit in limits),
        times.hold,
        "warning",
        f"{value(PERCENT)} of the images show none of their labels ({{{{ $labels.artifact }}}})",
        f"Over {times.recent}, {value(PERCENT)} of the images judged were unknown.\n"
        f"Over {times.usual} it was {figure(usual, ('artifact',), PERCENT)}.\n"
        "Something new is in front of the camera, or a label is missing.",
    )


def _starving(times: AlertTimes) -> Alert:
    """Of all artifacts together: labels still come to one that was switched away, and the one in its place has none yet."""
    now, usual = times.lately, times.usual
    feedback, predictions = (
        "sum by (scope) (candor:feedback:increase{})",
        "sum by (scope) (candor:predictions:increase{})",
    )
    coverage = f"{feedback.format(usual)} / ({predictions.format(usual)} >= {LEAST})"
    return Alert(
        "CandorFeedbackStarving",
        f"{feedback.format(now)}\n  < {STARVING} * (\n"
        f"    {predictions.format(now)}\n      * ({coverage}) >= {STARVING_LEAST}\n  )",
        times.hold,
        "warning",
        "Feedback on {{ $labels.scope }} labels has dried up",
        f"In {now}, {value(COUNT)} answers on {{{{ $labels.scope }}}} labels were given their true label.\n"
        f"That is less than a quarter of what is usual over {usual} for so many answers.\n"
        "Without labels neither the calibration figures nor their alerts can say anything.",
    )
