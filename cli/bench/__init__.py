"""`candor bench`: the performance figures of this project on this machine."""

from __future__ import annotations

import typer

from cli.bench import serve, soak, train, vocab

app = typer.Typer(
    no_args_is_help=True, help="Performance figures on this machine, each a ratio to a baseline measured in the same run."
)
app.command()(serve.serve)
app.command()(soak.soak)
app.command()(train.train)
app.command()(vocab.vocab)


@app.callback()
def bench() -> None:
    """Performance figures on this machine, each a ratio to a baseline measured in the same run."""
