"""What the commands share: the console, progress bars, and errors as one line."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from candor.errors import CandorError

P = ParamSpec("P")
R = TypeVar("R")

# names and paths of users are shown as they are: no [markup], no :emoji:
console = Console(markup=False, emoji=False)
errors = Console(stderr=True, markup=False, emoji=False)


def one_line_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print an error that Candor raised on purpose as one sentence and exit with 2; no traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except CandorError as error:
            errors.print(f"candor: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            errors.print("candor: stopped")
            raise typer.Exit(130) from None

    return wrapped


def progress_bar() -> Progress:
    """A bar with steps done, time gone and time left."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=not sys.stderr.isatty(),
    )


def show_progress(steps: Iterable[Any], description: str) -> Iterable[Any]:
    """The `progress` argument of the library, as a bar on the console."""
    with progress_bar() as bar:
        yield from bar.track(steps, description=description, total=len(steps) if hasattr(steps, "__len__") else None)


class _Rate(ProgressColumn):
    """Words a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} words/s" if task.speed else "")


def show_words(steps: Iterable[Any], description: str) -> Iterable[Any]:
    """The `progress` argument where each step is a sequence of words: a bar that counts words, with their rate."""
    blocks = list(steps)
    columns = (*progress_bar().columns, _Rate())
    with Progress(*columns, console=errors, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(description, total=sum(map(len, blocks)))
        for block in blocks:
            yield block
            bar.advance(task, len(block))


@contextmanager
def epoch_bar(description: str, epochs: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A bar over the epochs of a run, with its loss and validation ECE as they stand."""
    with progress_bar() as bar:
        task = bar.add_task(description, total=epochs)

        def show(epoch: int, figures: dict[str, float]) -> None:
            loss = sum(value for name, value in figures.items() if name.endswith("_loss"))
            state = f"loss {loss:.3f}"
            if "val_ece" in figures:
                state += f", validation ECE {figures['val_ece']:.1%}"
            bar.update(task, completed=epoch + 1, description=f"{description} · {state}")

        yield show
