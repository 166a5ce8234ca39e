"""`candor feedback`: what a feedback store holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from candor.errors import InvalidInput
from cli.console import errors, one_line_errors
from service.feedback.database import as_input
from service.feedback.service import feedback_url
from service.feedback.store import FeedbackStore
from service.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="The true labels that the service has been told.")

Url = Annotated[
    str | None,
    typer.Option(
        help="SQLAlchemy URL, as CANDOR_FEEDBACK, which may be given instead so that no password stands in a command line; "
        "feedback.db in the state directory by default"
    ),
]


@app.command()
@one_line_errors
def rebuild(url: Url = None) -> None:
    """Make the totals that Prometheus sees anew from the stored labels. The service may run meanwhile.

    Only needed where somebody has changed the database by hand, or mended it.
    """
    with _store(url, reads=False) as store:
        store.rebuild()
    errors.print("the totals are what the stored labels say")


@app.command()
@one_line_errors
def export(
    url: Url = None,
    artifact: Annotated[str | None, typer.Option(help="of this tag alone")] = None,
    since: Annotated[float | None, typer.Option(help="received from then on, in seconds since 1970")] = None,
) -> None:
    """Print all that is stored, a JSON object a line, in the order in which it came. It holds labels of callers."""
    with _store(url, reads=True) as store:
        for event in store.events(None if artifact is None else [artifact], since):
            sys.stdout.write(f"{json.dumps(asdict(event))}\n")


@contextmanager
def _store(url: str | None, reads: bool) -> Iterator[FeedbackStore]:
    given = {} if url is None else {"feedback": url}
    chosen = feedback_url(load_settings(**given))
    if chosen is None:
        raise InvalidInput("CANDOR_FEEDBACK is off; name a store with --url")
    store = FeedbackStore.existing(chosen, reads)
    try:
        with as_input():
            yield store
    finally:
        store.close()
