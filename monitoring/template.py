"""Pieces of Prometheus's alert templates: how numbers are written, and figures of other series of the same artifact."""

from __future__ import annotations

PERCENT = "humanizePercentage"
NUMBER = 'printf "%.3f"'
COUNT = 'printf "%.0f"'  # what grew within a window need not be a whole number


def value(form: str) -> str:
    """A template that writes the value that the alert is about.

    Args:
        form: one of the constants above.
    """
    return f"{{{{ $value | {form} }}}}"


def figure(series: str, same: tuple[str, ...], form: str, **labels: str) -> str:
    """A template that writes the value of one series, or "unknown" where there is none.

    Args:
        series: name.
        same: labels that it has in common with the alert.
        form: one of the constants above.
        labels: further ones, with their values.
    """
    fixed = [f"{name}='{text}'" for name, text in labels.items()]
    matchers = ",".join([f"{name}=%q" for name in same] + fixed)
    values = "".join(f" $labels.{name}" for name in same)
    query = f'printf "{series}{{{matchers}}}"{values} | query'
    return f"{{{{ with {query} }}}}{{{{ . | first | value | {form} }}}}{{{{ else }}}}unknown{{{{ end }}}}"
