"""`candor serve`: the BentoML service with sensible defaults."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from candor.calibration.open_set import ScoreName, matching_threshold
from candor.clip.artifact import PromptArtifact, load_artifact
from candor.errors import InvalidInput
from cli.console import errors, one_line_errors
from cli.server import service_command, service_environment
from service.guard.key_file import KeyFile
from service.settings import Settings, load_settings
from vocab_index.index import VocabularyIndex


@one_line_errors
def serve(
    artifact: Annotated[
        Path | None,
        typer.Option(help="prompt artifact (candor tune), or its tag in the BentoML model store; without one: zero-shot"),
    ] = None,
    index: Annotated[Path | None, typer.Option(help="vocabulary index (candor vocab build) for open-set answers")] = None,
    artifacts: Annotated[
        Path | None,
        typer.Option(help="folder of artifacts that may be activated"),
    ] = None,
    state: Annotated[Path | None, typer.Option(help="folder for label sets that are kept by name", file_okay=False)] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="file of API keys (candor keys); without: loopback only", dir_okay=False),
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port", min=1, max=65535)] = 3000,
) -> None:
    """Serve zero-shot classification with calibrated confidence over HTTP; stop with Ctrl-C.

    Example: candor serve --artifact runs/demo/artifact --index runs/demo/index --port 3000
    then:    curl -F image=@picture.png -F 'labels=["red umbrella","blue anchor"]' localhost:3000/v1/classify

    More settings are environment variables (CANDOR_MAX_PIXELS, ...): see the table in README.md.
    """
    given = {"artifacts": artifacts, "state": state, "keys": keys}
    chosen = {name: path.resolve() for name, path in given.items() if path is not None}
    settings = load_settings(**chosen)
    refuse_open_door(host, settings)
    if artifacts is not None and not artifacts.is_dir():
        raise InvalidInput(f"--artifacts {artifacts} is no folder")
    if settings.keys is not None:
        KeyFile(settings.keys)  # a damaged one is one sentence too
    vocabulary = VocabularyIndex.load(index) if index else None  # a damaged one is one sentence, before anything starts
    prompt = load_artifact(_directory_of(artifact, settings)) if artifact else None
    if prompt is not None and not judges_known(prompt, vocabulary):
        errors.print(
            "the artifact has no open-set threshold for this vocabulary: open_set.known will be null (candor calibrate)"
        )
    refuse_taken_port(host, port)
    errors.print(f"http://{host}:{port}/v1/docs  (POST /v1/classify, /v1/lookup, GET /metrics, /readyz)")
    variables = {f"CANDOR_{name.upper()}": str(path) for name, path in chosen.items()}
    with tempfile.TemporaryDirectory() as own:
        environment = service_environment(prompt.path if prompt else None, index, _home(Path(own)), variables)
        code = _run(service_command(host, port), environment)
    raise typer.Exit(code)


def refuse_open_door(host: str, settings: Settings) -> None:
    """Refuse to serve other machines when nobody needs a key.

    Args:
        host: address to listen on.
        settings: of the service.

    Raises:
        InvalidInput: it does, or `host` is no IP address.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise InvalidInput(f"{host!r} is no IP address; use 127.0.0.1, or 0.0.0.0 for every address") from None
    if not loopback and not settings.allow_anonymous and settings.keys is None:
        raise InvalidInput(
            f"{host} can be reached from other machines and there are no API keys: give --keys FILE, serve 127.0.0.1, "
            "or set CANDOR_ALLOW_ANONYMOUS=true"
        )


def refuse_taken_port(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on, before a server is started for it.

    Args:
        host: IP address.
        port: TCP port.

    Raises:
        InvalidInput: somebody listens there already, or it is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended are no listener
            probe.bind((host, port))
    except OSError as error:
        reason = error.strerror or error
        raise InvalidInput(f"cannot listen on {host} port {port}: {reason}; choose another with --port") from None


def _directory_of(artifact: Path, settings: Settings) -> Path:
    """Of an artifact that is named by its path or by a tag."""
    if artifact.exists() or artifact.is_absolute() or len(artifact.parts) > 1:
        return artifact
    from service.artifacts.catalogue import find  # imports BentoML: seconds that a path does not need

    return find(settings, str(artifact)).path or artifact


def _home(own: Path) -> Path:
    """A BENTOML_HOME of this server's own, with the user's model store in it."""
    store = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml") / "models"
    with contextlib.suppress(OSError):  # no store then
        store.mkdir(parents=True, exist_ok=True)
        (own / "models").symlink_to(store.resolve())
    return own


def _run(command: list[str], environment: Mapping[str, str]) -> int:
    """Run the server to its end; signals are its own to act on."""
    server: subprocess.Popen[bytes] | None = None
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        ending = True
        if server is not None:
            server.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):  # before there is a server: never leave it behind
        signal.signal(number, end)
    server = subprocess.Popen(command, env=environment)
    if ending:
        server.terminate()
    code = server.wait()
    return 0 if code == -signal.SIGTERM else code  # so it ends while it is still starting


def judges_known(artifact: PromptArtifact, vocabulary: VocabularyIndex | None) -> bool:
    """Whether the artifact has a threshold for the score that is served with a vocabulary, or without one."""
    score: ScoreName = "neglabel" if vocabulary else "mcm"
    return matching_threshold(artifact.config.open_set, score, vocabulary.digest if vocabulary else None) is not None
