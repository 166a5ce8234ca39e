"""`candor watch`: what feedback says about the artifact that a service answers with, on a schedule."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from candor.clip.artifact import CONFIG, load_artifact, load_config
from candor.errors import CandorError, InvalidInput
from cli.console import errors, one_line_errors
from cli.healing import Look, look
from cli.healing_report import record, sentences
from cli.running_service import RunningService
from monitoring.durations import seconds
from service.classifier import ZERO_SHOT_TAG

ADMIN_KEY = "CANDOR_ADMIN_KEY"
FAILED = 1  # exit code
KEY_MOST = 1000  # bytes


class ActivationFailed(CandorError):
    """A healed artifact could not be written or activated."""


@one_line_errors
def watch(
    url: Annotated[str, typer.Option(help="of the service, such as http://127.0.0.1:3000")],
    from_feedback: Annotated[
        str, typer.Option(envvar="CANDOR_FEEDBACK", help="its feedback: URL of the database, or a SQLite file")
    ],
    artifacts: Annotated[
        Path, typer.Option(envvar="CANDOR_ARTIFACTS", help="the directory of artifacts that the service may activate")
    ],
    every: Annotated[str, typer.Option(help="time between two looks, such as 15m")] = "1h",
    since: Annotated[str | None, typer.Option(help="use only feedback on predictions of the last time, such as 7d")] = None,
    auto: Annotated[bool, typer.Option("--auto", help="write what is better, and activate it")] = False,
    once: Annotated[bool, typer.Option("--once", help="look once and end, as for cron")] = False,
    key_file: Annotated[Path | None, typer.Option(dir_okay=False, help=f"file with an API key; or set {ADMIN_KEY}")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON a look")] = False,
) -> None:
    """Look at stored feedback on a schedule, and say what `candor calibrate --from-feedback` would do.

    Nothing is changed, unless --auto is given: then a calibrator that is better beyond noise is written beside the other
    artifacts and activated, by an admin key where the service has keys. It says what it does and why. The old artifact
    stays where it is, and one activation brings it back. After a failed activation it ends (exit code 1).

    Example: candor watch --url http://127.0.0.1:3000 --from-feedback state/feedback.db --artifacts runs --every 1h
    """
    pause = seconds(every)
    if since is not None:
        seconds(since)
    service = RunningService(url, _key(key_file))
    while True:
        try:
            _report(_looked(service, from_feedback, artifacts, since, auto), as_json)
        except ActivationFailed as error:
            _report({"error": str(error), "ended": True}, as_json)
            raise typer.Exit(FAILED) from None
        except (CandorError, OSError) as error:
            _report({"error": str(error)}, as_json)
            if once:
                raise typer.Exit(FAILED) from None
        if once:
            return
        time.sleep(pause)


def _looked(service: RunningService, feedback: str, artifacts: Path, since: str | None, auto: bool) -> dict[str, Any]:
    """One look, and with `auto` what follows from it."""
    tag = service.active()
    if tag == ZERO_SHOT_TAG:
        raise InvalidInput("the service answers without an artifact, so there is no calibrator to heal")
    found = look(load_artifact(_directory(artifacts, tag)), feedback, (), since)
    refusal = found.healing.refusal
    said = {"tag": tag, "refusal": refusal, "says": sentences(found.healing), "feedback": record(found.healing, found.tags)}
    if refusal is not None:
        return said | {"advice": "nothing to do"}
    new = {"healed_tag": found.healed_tag, "calibrator": found.healing.calibrator.model_dump()}
    if not auto:
        return said | new | {"advice": "a better calibrator is there: candor calibrate --from-feedback writes it"}
    path = _activate(service, found, artifacts)
    return said | new | {"advice": f"written to {path} and activated; {tag} is kept", "artifact": str(path)}


def _activate(service: RunningService, found: Look, artifacts: Path) -> Path:
    """Write the new version under its tag and switch the service to it."""
    path = artifacts / found.healed_tag
    try:
        if not (path / CONFIG).is_file():  # a look that ended between the two left it there
            found.write(path)
        service.activate(found.healed_tag)
    except (CandorError, OSError) as error:
        raise ActivationFailed(f"{found.artifact.tag} stays: {found.healed_tag} is not activated: {error}") from error
    return path


def _directory(artifacts: Path, tag: str) -> Path:
    """Where an artifact lies."""
    for path in sorted(artifacts.glob(f"*/{CONFIG}")):
        try:
            if not path.parent.name.startswith(".") and load_config(path.parent).tag == tag:
                return path.parent
        except CandorError:  # a damaged neighbour
            continue
    raise InvalidInput(f"{artifacts} holds no artifact {tag}, which the service answers with")


def _key(file: Path | None) -> str | None:
    """The API key, from a file or the environment: not from the command line, which others on the machine can read."""
    if file is None:
        key = os.environ.get(ADMIN_KEY, "").strip()
    else:
        try:
            with file.open("rb") as opened:
                key = opened.read(KEY_MOST).decode("ascii").strip()
        except OSError as error:
            raise InvalidInput(f"cannot read {file}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise InvalidInput(f"{file} holds no API key") from None
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidInput(f"{file or ADMIN_KEY} holds no API key")
    return key or None


def _report(said: dict[str, Any], as_json: bool) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if as_json:
        typer.echo(json.dumps({"time": now} | said))
    elif "error" in said:
        errors.print(f"{now} {said['error']}", highlight=False, soft_wrap=True)
    else:
        typer.echo(f"{now} {said['tag']}: {'; '.join(said['says'])}. {said['advice']}")
