"""The dashboard of the service: does it answer, how fast, and does feedback come back?"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards.board import Row, board
from monitoring.dashboards.panels import GREEN, PLAIN, RED, SHARE, YELLOW, Panel, heat, lines, numbers, runbook
from monitoring.dashboards.queries import SCOPED, WHOSE, Query, mean, per_second, quantile, rule
from monitoring.service_alerts import FAILING, JOB, SLOW

EACH_SECOND, SECONDS = "reqps", "s"
OF_ROUTE = 'route=~"$route"'

UP = """Whether Prometheus reaches each replica's `/metrics`: 1 or 0. A 0 with a service that answers is a key of the \
role `metrics` that is missing or wrong in Prometheus's configuration."""

STORE = """Whether the store of true labels can be read: 1 or 0, by replica. At 0 there are no counters of \
feedback, and feedback is mostly answered with 503: nothing that was acknowledged is lost."""

SLOWEST = """All but one in a hundred requests of the chosen routes are answered faster, lately. Red: where the alert \
begins."""

ANSWERS = "Images classified each second by all replicas, of the chosen artifacts and scopes."

FAILED = """Share of requests that ended with 5xx: faults of the service, and 503 where it is overloaded, loading or \
ending. Requests that a caller got wrong (4xx) are not in it."""

COVERAGE_NOW = """Share of the window's predictions that have feedback by now, the lowest of the chosen. Near zero no \
alert about calibration can fire."""

REQUESTS = """Requests each second by class of status. 2xx are answers; 4xx are callers' mistakes, refused keys and \
rate limits; 5xx are faults, or 503 under overload; *none* are callers who went away."""

LATENCY = """Time from the whole request's arrival to its answer: half are faster than p50, all but one in a hundred \
faster than p99. As exact as the histogram's buckets. p99 far above p50: queueing, or new labels that have to be \
encoded first."""

STAGES = """Where the time goes, in the mean: **decode** the picture, **queue** for the model, **encode** the image, \
**labels** (their text features, kept or made), **score**, **answer**. *queue* that grows alone is too few replicas; \
*labels* that grows is callers with ever new labels."""

STAGES_95 = """The same for the slow ones: 95 of 100 spend less in that stage. The stages of one request are not slow \
together, so they do not add up to the latency's p95."""

BATCH = """How many images the model took at once; its row is the bucket's upper edge. Always 1: callers are few, and \
nothing is waiting. Always the largest: the model is the bottleneck."""

QUEUE = """Time that an image waits for the model. It is bounded: beyond `CANDOR_MAX_QUEUE` images and \
`CANDOR_TIMEOUT_SECONDS` callers get a 503, which the graph on the right shows as *unavailable*."""

REJECTED = """Requests, and images of several, that were refused, by error code. *unavailable* is overload; \
*too_many_requests* the rate limit; *unauthorized* keys; *not_an_image* and *invalid* callers' mistakes."""

CACHE = """Share of labels whose text features were kept. Near 1 in steady traffic; it falls when an artifact is \
activated, and for good when callers send other labels each time or `CANDOR_LABEL_CACHE_BYTES` is too small."""

COVERAGE = """Feedback of the window over predictions of the window. Labels come late: their predictions may be older \
than the window, so it can lag, and for a moment pass 1. Steady is good; falling towards 0 is a broken pipeline of \
labels."""

FEEDBACK = """True labels that arrive each second, by what they say: *correct*, *wrong*, or *outside* (none of the \
request's labels)."""

REFUSED = """Feedback that was refused: *invalid* receipts (forged, or signed with a key that was rotated away), \
*expired* ones, and *conflict* (another label was stored before). Normally flat at zero."""

_RIGHT = per_second("candor_feedback_correct_total", "", SCOPED)
_JUDGED = per_second("candor_feedback_total", "", SCOPED)


def service_dashboard(windows: Sequence[str]) -> Dashboard:
    """Requests, time, batches, refusals, the label cache and the flow of feedback.

    Args:
        windows: of the recording rules.
    """
    text = "Does it answer, how fast, where does the time go, and do true labels come back?"
    rows = (Row("Now", _now()), Row("Requests", _requests()), Row("Inside", _inside()), Row("Feedback", _feedback()))
    return board("candor-service", "Candor: service", text, rows, ("artifact", "scope", "window", "route"), windows)


def _now() -> tuple[Panel, ...]:
    requests, failed = (per_second("candor_requests_total", "", f"{OF_ROUTE}{only}") for only in ("", ', status="5xx"'))
    share = Query(f"{failed} / ({requests} > 0)", "5xx")
    up, store = Query(f'up{{job="{JOB}"}}', "{{instance}}"), Query("candor_feedback_store_up", "{{instance}}")
    slowest = Query(quantile("candor_request_seconds", 0.99, matchers=OF_ROUTE), "p99")
    rate = Query(per_second("candor_predictions_total", "", SCOPED), "images/s")
    coverage = Query(f"min ({rule('candor:feedback_coverage:ratio')})", "labelled")
    bad = ((FAILING / 2, YELLOW), (FAILING, RED))
    return (
        numbers("Replicas up", UP, PLAIN, up, steps=((1, GREEN),), below=RED).links([runbook("CandorDown")]),
        numbers("Images each second", ANSWERS, PLAIN, rate),
        numbers("Requests that failed", FAILED, SHARE, share, steps=bad).links([runbook("CandorErrors")]),
        numbers("Latency p99", SLOWEST, SECONDS, slowest, steps=((SLOW, RED),)).links([runbook("CandorSlow")]),
        numbers("Feedback store", STORE, PLAIN, store, steps=((1, GREEN),), below=RED).links(
            [runbook("CandorFeedbackStoreDown")]
        ),
        numbers("Feedback coverage", COVERAGE_NOW, SHARE, coverage).links([runbook("CandorFeedbackStarving")]),
    )


def _requests() -> tuple[Panel, ...]:
    quantiles = [
        Query(quantile("candor_request_seconds", q, matchers=OF_ROUTE), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)
    ]
    return (
        lines(
            "Requests by status",
            REQUESTS,
            EACH_SECOND,
            Query(per_second("candor_requests_total", "status", OF_ROUTE), "{{status}}"),
            least=0,
            stacked=True,
        ).links([runbook("CandorErrors"), runbook("CandorDown")]),
        lines("Latency", LATENCY, SECONDS, *quantiles, least=0, steps=((SLOW, RED),)).links([runbook("CandorSlow")]),
    )


def _inside() -> tuple[Panel, ...]:
    stage_95 = Query(quantile("candor_stage_seconds", 0.95, "stage"), "{{stage}}")
    queue = [Query(quantile("candor_stage_seconds", q, matchers='stage="queue"'), f"p{q * 100:.0f}") for q in (0.5, 0.95)]
    hits, misses = (per_second(f"candor_label_cache_{what}_total", "") for what in ("hits", "misses"))
    return (
        lines("Stages, mean", STAGES, SECONDS, Query(mean("candor_stage_seconds", "stage"), "{{stage}}"), least=0),
        lines("Stages, p95", STAGES_95, SECONDS, stage_95, least=0).links([runbook("CandorSlow")]),
        heat("Images in a batch", BATCH, PLAIN, "candor_image_batch_size"),
        lines("Waiting for the model", QUEUE, SECONDS, *queue, least=0),
        lines("Refused", REJECTED, PLAIN, Query(per_second("candor_rejected_total", "code"), "{{code}}"), least=0),
        lines("Label cache hits", CACHE, SHARE, Query(f"{hits} / ({hits} + {misses} > 0)", "kept"), least=0, most=1),
    )


def _feedback() -> tuple[Panel, ...]:
    outcomes = (
        Query(_RIGHT, "correct"),
        Query(f"{_JUDGED} - {_RIGHT}", "wrong"),
        Query(per_second("candor_feedback_outside_total", "", SCOPED), "outside"),
    )
    coverage = Query(rule("candor:feedback_coverage:ratio"), WHOSE)
    refused = Query(per_second("candor_feedback_refused_total", "reason"), "{{reason}}")
    return (
        lines("Feedback coverage", COVERAGE, SHARE, coverage, least=0, span=8).links([runbook("CandorFeedbackStarving")]),
        lines("True labels each second", FEEDBACK, PLAIN, *outcomes, least=0, span=8, stacked=True),
        lines("Refused feedback", REFUSED, PLAIN, refused, least=0, span=8),
    )
