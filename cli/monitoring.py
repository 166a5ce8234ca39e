"""`candor monitoring`: configuration of Prometheus, Alertmanager and Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candor.errors import InvalidInput
from cli.console import console, one_line_errors
from monitoring.alert import RUNBOOKS
from monitoring.durations import INTERVAL, WINDOWS
from monitoring.files import ROOM, Choices, files, stale, write
from monitoring.prometheus_config import KEY_FILE, TARGETS

app = typer.Typer(no_args_is_help=True, help="Prometheus's rules and alerts, Alertmanager's and Grafana's files")

ALL_WINDOWS = ",".join(WINDOWS)

Windows = Annotated[str, typer.Option(help="windows of the recording rules, from the shortest")]
Interval = Annotated[str, typer.Option(help="between evaluations of the rules; Prometheus scrapes twice in it")]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", help=f"host:port of a replica; give it again for each one; by default {TARGETS[0]}"),
]
Runbooks = Annotated[str, typer.Option(help="address of the folder of runbooks, for the links in alerts")]

KeyFile = Annotated[
    str, typer.Option(help="where Prometheus finds its key (role metrics) for /metrics; empty for a service without keys")
]


@app.command(name="write")
@one_line_errors
def write_files(
    folder: Annotated[Path, typer.Argument(help="folder to write to; generated files that are there are replaced")],
    windows: Windows = ALL_WINDOWS,
    interval: Interval = INTERVAL,
    targets: Targets = None,
    runbooks: Runbooks = RUNBOOKS,
    key_file: KeyFile = KEY_FILE,
) -> None:
    """Write the configuration of a monitoring stack. compose.yml and alertmanager.yml are yours: kept where they are there.

    Example: candor monitoring write deploy --target gpu-1:3000 --target gpu-2:3000
    """
    made = _made(windows, interval, targets, runbooks, key_file)
    try:
        kept = write(folder, made)
    except OSError as error:
        raise InvalidInput(f"cannot write to {folder}: {error.strerror}") from error
    for name in sorted(made):
        console.print(f"{folder / name}{' (yours, kept)' if name in kept else ''}", soft_wrap=True, highlight=False)


@app.command()
@one_line_errors
def check(
    folder: Annotated[Path, typer.Argument(help="folder that was written; by default the one of this installation")] = ROOM,
    windows: Windows = ALL_WINDOWS,
    interval: Interval = INTERVAL,
    targets: Targets = None,
    runbooks: Runbooks = RUNBOOKS,
    key_file: KeyFile = KEY_FILE,
) -> None:
    """Say which files are not what candor monitoring write would write; exit code 1 if there is one.

    Example: candor monitoring check deploy --target gpu-1:3000 --target gpu-2:3000
    """
    names = stale(folder, _made(windows, interval, targets, runbooks, key_file))
    for name in names:
        console.print(f"stale: {name}", soft_wrap=True)
    if names:
        raise typer.Exit(1)


def _made(windows: str, interval: str, targets: list[str] | None, runbooks: str, key_file: str) -> dict[str, str]:
    return files(Choices(tuple(windows.split(",")), interval, tuple(targets or TARGETS), runbooks, key_file or None))
