"""`candor vocab`: build a vocabulary index, and ask it."""

from __future__ import annotations

import typer

from cli.vocab.build import build
from cli.vocab.evaluate import evaluate
from cli.vocab.outliers import outliers
from cli.vocab.search import search

app = typer.Typer(
    no_args_is_help=True, help="Vocabulary indexes: DOR draws its outliers from one, and the service looks labels up in it."
)
app.command()(build)
app.command()(evaluate)
app.command()(outliers)
app.command()(search)


@app.callback()
def vocab() -> None:
    """Vocabulary indexes: DOR draws its outliers from one, and the service looks labels up in it."""
