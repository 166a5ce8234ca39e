"""`candor bench soak`."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import typer

from candor.errors import InvalidInput
from cli.console import console, errors, one_line_errors, progress_bar
from cli.server import running_service
from service.bench.ageing import Ageing, TurnSetting, compare
from service.bench.processes import serving_process
from service.bench.soak import MOST_AGEING, MOST_DRIFT, MOST_GROWTH, Soak, SoakSetting, run_soak

CACHE, CACHE_BYTES = "CANDOR_LABEL_CACHE_BYTES", 8 * 2**20  # small, so that it is full and turns over within minutes
BEHIND_SEED = TurnSetting.seed + 1


@one_line_errors
def soak(
    minutes: Annotated[float, typer.Option(help="of steady load", min=0.05, max=10_000)] = 30,
    load: Annotated[float, typer.Option(help="share of the throughput at saturation", min=0.01, max=1.5)] = 0.8,
    probe: Annotated[float, typer.Option(help="seconds of the closed loop that finds that throughput", min=1)] = 60,
    artifact: Annotated[Path | None, typer.Option(help="prompt artifact to serve; without one: zero-shot")] = None,
    index: Annotated[Path | None, typer.Option(help="vocabulary index to serve")] = None,
    url: Annotated[str | None, typer.Option(help="a running service instead of one of its own; needs --pid")] = None,
    pid: Annotated[int | None, typer.Option(help="process of that service that holds the model", min=1)] = None,
    pairs: Annotated[int, typer.Option(help="of turns beside a twin, 4 s each, before and behind; 0: no twin", min=0)] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """Steady load for a long time: does memory grow, does latency creep, is every answer right?

    Finds the throughput at saturation, then sends requests at random times (an open loop) at a share of it: forms and JSON,
    2 to 100 labels, new label sets all the time so that caches turn over, open set on and off, one in twenty to be refused.
    A service of its own gets a label cache of 8 MB, which is full soon; one of yours should have a small one too. Beside it
    a twin is started that rests: before the load and behind it both answer the same requests in alternate turns, and what
    changed in the ratio of their latencies is ageing, whatever the machine did meanwhile.
    Exit code 1 if memory of the last fifth is 2 % above that of the second, median latency 25 %, the service has aged by
    10 %, or an answer was wrong.
    Ctrl-C ends it early with what was found. The load generator shares the machine; nothing else should run meanwhile. On a
    virtual machine `stolen` is what its host gave to others: where it moves, latency under load tells of them.
    """
    if (url is None) != (pid is None):
        raise InvalidInput("give both --url and --pid of a running service, or neither")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # never leave the service behind
    setting = SoakSetting(seconds=60 * minutes, load=load, probe_seconds=probe)
    twin = _own_service(artifact, index) if pairs and url is None else nullcontext()
    with _service(url, pid, artifact, index) as (address, process), twin as resting, progress_bar() as bar:
        task = bar.add_task("beside its twin" if resting else "finding the saturation", total=None)

        def tell(found: Soak) -> None:
            total = round(setting.seconds / setting.interval)
            description = f"{found.rate:.1f} requests/s, {load:.0%} of {found.saturation:.1f}"
            bar.update(task, total=total, completed=len(found.intervals), description=description)
            _show_interval(found)

        before = compare(address, resting, TurnSetting(pairs)) if resting else None
        bar.update(task, description="finding the saturation")
        found = run_soak(address, lambda: int(process.memory_info().rss), setting, tell)
        if resting and before and not found.interrupted:
            bar.update(task, total=None, description="beside its twin")
            try:
                found.ageing = Ageing(before, compare(address, resting, TurnSetting(pairs, seed=BEHIND_SEED)))
            except KeyboardInterrupt:  # what the load has shown until then is told all the same
                found.interrupted = True
    if as_json:
        console.print_json(json.dumps(found.document() | {"setting": vars(setting)}))
    else:
        _show(found)
    raise typer.Exit(0 if found.sound else 1)


@contextmanager
def _service(
    url: str | None, pid: int | None, artifact: Path | None, index: Path | None
) -> Iterator[tuple[str, psutil.Process]]:
    if url is not None:
        if not psutil.pid_exists(pid):
            raise InvalidInput(f"there is no process {pid}")
        yield url.rstrip("/"), psutil.Process(pid)
        return
    with _own_service(artifact, index) as own:
        yield own, serving_process(int(urlsplit(own).port or 0))


@contextmanager
def _own_service(artifact: Path | None, index: Path | None) -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="candor-soak-") as logs,
        running_service(artifact, index, Path(logs) / "service.log", environment={CACHE: str(CACHE_BYTES)}) as url,
    ):
        yield url


def _show_interval(found: Soak) -> None:
    """One line an interval, on stderr: stdout is for the figures."""
    if not found.intervals:
        errors.print(f"saturation {found.saturation:.1f} requests/s; sending {found.rate:.1f}")
        errors.print("   minute  requests  errors  p50 ms  p95 ms  memory MB  stolen %")
        return
    last = found.intervals[-1]
    figures = f"{1000 * last.p50:7.1f} {1000 * last.p95:7.1f} {last.memory / 2**20:10.1f} {100 * last.stolen:9.1f}"
    errors.print(f"{last.begun / 60:9.1f} {last.requests:9d} {last.errors:7d} {figures}")


def _show(found: Soak) -> None:
    sent = sum(interval.requests for interval in found.intervals)
    console.print(f"{sent} requests at {found.rate:.1f} a second, {found.errors} errors {found.faults or ''}")
    console.print(f"memory of the last fifth against the second: {found.growth:+.2%} (at most {MOST_GROWTH:+.0%})")
    console.print(f"median latency of the last fifth by that of the second: {found.drift:.2f} (at most {MOST_DRIFT:.2f})")
    if (ageing := found.ageing) is not None:
        console.print(
            f"median latency by that of its twin: {ageing.before.ratio:.2f} before, {ageing.behind.ratio:.2f} behind, "
            f"{ageing.ratio:.2f} times (at most {MOST_AGEING:.2f}); {ageing.wrong} errors"
        )
    stopped = "stopped early; " if found.interrupted else ""
    console.print(f"{stopped}{'steady' if found.sound else 'NOT steady'}")
