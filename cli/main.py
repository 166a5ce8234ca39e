"""The `candor` command."""

from __future__ import annotations

import typer

from cli import artifact, bench, feedback, keys, monitoring, vocab
from cli.calibrate import calibrate
from cli.demo import demo
from cli.evaluate import evaluate
from cli.experiment import experiment
from cli.serve import serve
from cli.simulate.command import simulate
from cli.tune import tune
from cli.watch import watch

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Zero-shot image classification whose confidence can be taken at its word. Start with: candor demo",
)
app.command()(demo)
app.command()(tune)
app.command()(evaluate)
app.command()(experiment)
app.command()(calibrate)
app.command()(watch)
app.command()(simulate)
app.add_typer(vocab.app, name="vocab")
app.add_typer(keys.app, name="keys")
app.add_typer(feedback.app, name="feedback")
app.add_typer(bench.app, name="bench")
app.add_typer(artifact.app, name="artifact")
app.add_typer(monitoring.app, name="monitoring")
app.command()(serve)


def main() -> None:
    """Entry point."""
    app()
