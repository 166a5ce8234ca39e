"""`candor simulate`: two days of a deployment, in a few minutes."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from candor.calibration.limits import LEAST
from candor.clip.artifact import load_artifact, load_config
from candor.errors import InvalidInput
from candor.files import whole_directory
from cli.console import console, errors, one_line_errors, progress_bar
from cli.options import Replace, backbone, refuse_existing
from cli.prometheus import find_prometheus
from cli.simulate.clock import MOST, Clock
from cli.simulate.deployment import INDEX, TUNED, candor, running_deployment
from cli.simulate.driver import Traffic
from cli.simulate.figures import draw
from cli.simulate.story import DELAY, STEPS, OnStep, Story
from cli.simulate.stream import DUSK_LIGHT, DUSK_NOISE, Stream
from cli.simulate.timeline import Timeline, checks, recorded
from cli.tables import distance, percent
from monitoring.durations import seconds
from vocab_index.index import VocabularyIndex

TIMELINE = "timeline.json"
EPOCHS = 20  # of an artifact that is tuned for the simulation: seconds, and by day it is calibrated
FAILED = 1  # exit code: it ran, and something did not happen


@one_line_errors
def simulate(
    out: Annotated[Path, typer.Option(help="folder to write: artifacts, feedback, Prometheus's data, logs, graphs")],
    artifact: Annotated[
        Path | None, typer.Option(help="artifact tuned on a task of the glyph world; without: one is tuned first")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="vocabulary index, for open-set answers")] = None,
    seed: Annotated[int, typer.Option(help="of the pictures", min=0)] = 1,
    rate: Annotated[float, typer.Option(help="pictures a second, if the service keeps up", min=4, max=1000)] = 20,
    compress: Annotated[int, typer.Option(help="simulated seconds in a second", min=60, max=MOST)] = 720,
    replace: Replace = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the outcome as JSON")] = False,
) -> None:
    """Two days of a deployment in a few minutes: drift is seen, labels show what it did, and feedback heals it.

    The real service answers a stream of glyph pictures, and the real Prometheus (Debian's package prometheus) watches it
    with the rules and alerts of this project, their windows compressed. Half-way dusk falls: the pictures get dark and
    noisy, and the artifact over-confident. True labels come eight hours late. The drift alert must fire before them, and
    the over-confidence alert after; then `candor calibrate --from-feedback` and an activation, and both alerts must end.

    Writes timeline.json, drift.png and calibration.png. The exit code is 1 where something did not happen.

    Example: candor simulate --out runs/simulation
    """
    refuse_existing(out, replace, TIMELINE)
    find_prometheus()
    clock = Clock(compress)
    _enough(rate, clock)
    with whole_directory(out, replace, mark=TIMELINE) as home:
        _prepare(home, artifact, index, seed)
        with _steps() as on_step:
            timeline = _run(home, clock, seed, rate, on_step)
        document = timeline.to_json()
        (home / TIMELINE).write_text(json.dumps(document, allow_nan=False) + "\n")
        draw(home, timeline)
    if as_json:
        console.print_json(json.dumps({name: value for name, value in document.items() if name != "series"}))
    else:
        _show(timeline, out)
    if not all(checks(timeline).values()):
        raise typer.Exit(FAILED)


def _enough(rate: float, clock: Clock) -> None:
    """See that a window of figures holds labels enough for each scope: half of the pictures, and half as many again.

    Raises:
        InvalidInput: every score would be absent.
    """
    window = seconds(clock.alert_times.scored)
    least = 2 * 1.5 * LEAST / window
    if rate < least:
        raise InvalidInput(
            f"--rate {rate:g} gives too few labels in a window of {window} s; take {math.ceil(least)} or more"
        )


def _prepare(home: Path, artifact: Path | None, index: Path | None, seed: int) -> None:
    """The artifact and the vocabulary in their places; both are checked before anything starts."""
    if artifact is None:
        if index is not None:
            raise InvalidInput("--index belongs to an --artifact; without one both are made")
        candor(home, "vocab", "build", "--source", "glyphs", "--out", INDEX)
        candor(home, "tune", "--index", INDEX, "--out", TUNED, "--epochs", str(EPOCHS))
        return
    loaded = load_artifact(artifact)
    Stream(loaded.config, seed)
    shutil.copytree(artifact, home / TUNED)
    if index is not None:
        VocabularyIndex.load(index, backbone(loaded.config.backbone.model, loaded.config.backbone.pretrained))
        shutil.copytree(index, home / INDEX)


def _run(home: Path, clock: Clock, seed: int, rate: float, on_step: OnStep) -> Timeline:
    on_step("the service and Prometheus start")
    stream = Stream(load_config(home / TUNED), seed)
    with running_deployment(home, clock) as deployment:
        traffic = Traffic(deployment.service, stream, rate, clock.hours(DELAY))
        with traffic.running():
            story = Story(deployment, traffic, on_step)
            story.tell()
            series, alerts = recorded(deployment.prometheus, deployment.window, story.start, story.end)
        setting: dict[str, Any] = {
            "seed": seed,
            "rate": rate,
            "compress": clock.compress,
            "window": deployment.window,
            "label_delay_seconds": clock.hours(DELAY),
            "dusk": {"light": DUSK_LIGHT, "noise": DUSK_NOISE},
            "artifact": deployment.tag,
            "healed": deployment.healed_tag,
        }
    seen = asdict(traffic.seen)
    return Timeline(setting, story.marks, story.phases, series, alerts, story.end - story.start, story.calibration, seen)


@contextmanager
def _steps() -> Iterator[OnStep]:
    """A bar over the steps of the story; a line a step where there is no terminal."""
    with progress_bar() as bar:
        task = bar.add_task("", total=STEPS, completed=-1)

        def on_step(description: str) -> None:
            bar.update(task, advance=1, description=description)
            if bar.disable:
                errors.print(description, highlight=False, soft_wrap=True)

        yield on_step


def _show(timeline: Timeline, out: Path) -> None:
    heads = ("acc %", "conf %", "gap %", "ECE %", "floor %", "PSI", "floor")
    table = Table(*(Column(head, no_wrap=True) for head in ("phase", "scope", *heads)), box=SIMPLE_HEAD)
    for row in timeline.table():
        shares = [percent(_number(row[name])) for name in ("accuracy", "confidence", "gap", "ece", "ece_floor")]
        table.add_row(row["phase"], row["scope"], *shares, *(distance(_number(row[name])) for name in ("psi", "psi_floor")))
    console.print(table)
    for name, when in sorted(_events(timeline), key=lambda event: event[1]):
        console.print(f"{when * timeline.setting['compress'] / 3600:5.1f} h  {name}", highlight=False)
    for name, true in checks(timeline).items():
        console.print(f"{'yes' if true else 'NO '}  {name}", highlight=False)
    console.print(f"{TIMELINE}, drift.png and calibration.png are in {out}", soft_wrap=True)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _events(timeline: Timeline) -> list[tuple[str, float]]:
    """What happened and when, in seconds since the beginning."""
    firing = [(f"{a.name} {a.labels.get('scope', '')}".rstrip(), a) for a in timeline.alerts if a.state == "firing"]
    started = [(f"{name} fires", alert.start) for name, alert in firing]
    ended = [(f"{name} ends", alert.end) for name, alert in firing if alert.end < timeline.end - 2]
    return [*timeline.marks.items(), *started, *ended]
