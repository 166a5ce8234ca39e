"""What panels ask Prometheus, and the words of a dashboard's variables in it."""

from __future__ import annotations

from dataclasses import dataclass

OF_ARTIFACT = 'artifact=~"$artifact"'
SCOPED = 'artifact=~"$artifact", scope=~"$scope"'
WHOSE = "{{artifact}} {{scope}}"  # legend of a series of an artifact and scope
RECENT = "$__rate_interval"  # at least four scrapes, and no shorter than the graph can show


@dataclass(frozen=True)
class Query:
    """One question of a panel.

    Attributes:
        expr: PromQL, with the dashboard's variables in it.
        name: legend of its series, with labels as `{{label}}`; in a table the title of its column.
        bound: whether it is something to hold the others against (a noise floor, a reference), and drawn dashed.
    """

    expr: str
    name: str
    bound: bool = False


def rule(name: str, matchers: str = SCOPED) -> str:
    """The series of a recording rule over the dashboard's window.

    Args:
        name: of the rule, without its window: `candor:ece:ratio` is recorded as `candor:ece:ratio1h`, `...6h` and so on.
        matchers: of its labels, as they stand in braces.
    """
    return f"{name}${{window}}{{{matchers}}}"


def constant(name: str, by: str = "artifact, scope", matchers: str = SCOPED) -> str:
    """A gauge that every replica exports alike, such as a reference: once.

    Args:
        name: of the metric.
        by: the labels to keep.
        matchers: as in `rule`.
    """
    return f"max by ({by}) ({name}{{{matchers}}})"


def per_second(name: str, by: str, matchers: str = "") -> str:
    """How often a counter went up of late, of all replicas.

    Args:
        name: of the metric.
        by: the labels to keep; none is the sum of all.
        matchers: as in `rule`.
    """
    labels = f"{{{matchers}}}" if matchers else ""
    return f"sum by ({by}) (rate({name}{labels}[{RECENT}]))"


def mean(histogram: str, by: str, matchers: str = "") -> str:
    """The mean of what a histogram was told of late.

    Args:
        histogram: name, without `_sum`.
        by: as in `per_second`.
        matchers: as in `rule`.
    """
    return f"{per_second(f'{histogram}_sum', by, matchers)} / ({per_second(f'{histogram}_count', by, matchers)} > 0)"


def quantile(histogram: str, q: float, by: str = "", matchers: str = "") -> str:
    """A quantile of what a histogram was told of late, as exact as its buckets.

    Args:
        histogram: name, without `_bucket`.
        q: 0..1.
        by: as in `per_second`.
        matchers: as in `rule`.
    """
    return f"histogram_quantile({q}, {per_second(f'{histogram}_bucket', f'{by}, le' if by else 'le', matchers)})"
