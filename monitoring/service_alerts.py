"""Alerts of the service itself: without its store of feedback, slow, failing, gone."""

from __future__ import annotations

from monitoring.alert import Alert, AlertTimes
from monitoring.durations import duration, seconds
from monitoring.template import PERCENT, value

JOB = "candor"  # of the scrape configuration
SLOW = 1.0  # seconds
SLOW_LEAST = 50  # requests: of fewer the 99th percentile is the slowest one
FAILING = 0.01  # share of answers
FAILING_LEAST = 5  # failures: one of a handful is no trend
PROBES = 'route!~"/livez|/readyz|/healthz|/metrics"'  # they answer 503 on purpose, and would water every share down


def service_alerts(times: AlertTimes) -> list[Alert]:
    """All of them.

    Args:
        times: windows and patience.
    """
    return [_store_down(times), _slow(times), _errors(times), _down(times)]


def _store_down(times: AlertTimes) -> Alert:
    """It fires for as long as the trouble lasts: the alert on missing labels ends when a day without them is usual."""
    who = "{{ $labels.instance }}"
    return Alert(
        "CandorFeedbackStoreDown",
        "candor_feedback_store_up == 0",
        duration(2 * seconds(times.soon)),
        "critical",
        f"The feedback store of {who} cannot be read",
        f"{who} cannot read its feedback store, so it exports no counters of feedback.\n"
        "Mostly it cannot be written either: true labels are then answered with 503.\n"
        "Calibration figures run dry, and their alerts with them.",
    )


def _slow(times: AlertTimes) -> Alert:
    route, window = '{route="/v1/classify"}', f"[{times.requests}]"
    p99 = f"histogram_quantile(0.99, sum by (le) (rate(candor_request_seconds_bucket{route}{window})))"
    return Alert(
        "CandorSlow",
        f"{p99} > {SLOW:g}\n  and sum(increase(candor_request_seconds_count{route}{window})) >= {SLOW_LEAST}",
        times.soon,
        "warning",
        "One classification in a hundred takes over {{ $value | humanizeDuration }}",
        f"Over {times.requests}, the 99th percentile of /v1/classify is {{{{ $value | humanizeDuration }}}}.\n"
        f"It should stay below {SLOW:g} s.",
    )


def _errors(times: AlertTimes) -> Alert:
    failed = f'sum(increase(candor_requests_total{{status="5xx",{PROBES}}}[{times.requests}]))'
    answered = f"sum(increase(candor_requests_total{{{PROBES}}}[{times.requests}]))"
    return Alert(
        "CandorErrors",
        f"{failed}\n  / ({answered} > 0) > {FAILING}\n  and {failed} >= {FAILING_LEAST}",
        times.soon,
        "critical",
        f"{value(PERCENT)} of the requests fail",
        f"Over {times.requests}, {value(PERCENT)} of the requests were answered with a 5xx status.\n"
        f"It should stay below {FAILING:.0%}.",
    )


def _down(times: AlertTimes) -> Alert:
    up = f'up{{job="{JOB}"}}'
    instance = "{{ with $labels.instance }}{{ . }}{{ else }}every instance{{ end }}"
    return Alert(
        "CandorDown",
        f"{up} == 0 or absent({up})",
        times.soon,
        "critical",
        f"Candor is down: {instance}",
        f"Prometheus cannot read /metrics of {instance}.\n"
        "The process is gone, the network is, or the key of the scrape is refused.",
    )
