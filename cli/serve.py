"""`candor serve`: the BentoML service with sensible defaults."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from candor.calibration.open_set import ScoreName, matching_threshold
from candor.clip.artifact import PromptArtifact, load_artifact
from cli.console import errors, one_line_errors
from cli.server import service_command, service_environment
from vocab_index.index import VocabularyIndex


@one_line_errors
def serve(
    artifact: Annotated[Path | None, typer.Option(help="prompt artifact (candor tune); without one: zero-shot")] = None,
    index: Annotated[Path | None, typer.Option(help="vocabulary index (candor vocab build) for open-set answers")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port", min=1, max=65535)] = 3000,
) -> None:
    """Serve zero-shot classification with calibrated confidence over HTTP; stop with Ctrl-C.

    Example: candor serve --artifact runs/demo/artifact --index runs/demo/index --port 3000
    then:    curl -F image=@picture.png -F 'labels=["red umbrella","blue anchor"]' localhost:3000/v1/classify

    More settings are environment variables (CANDOR_MAX_PIXELS, ...): see the table in README.md.
    """
    vocabulary = VocabularyIndex.load(index) if index else None  # a damaged one is one sentence, before anything starts
    if artifact is not None and not judges_known(load_artifact(artifact), vocabulary):
        errors.print(
            "the artifact has no open-set threshold for this vocabulary: open_set.known will be null (candor calibrate)"
        )
    errors.print(f"http://{host}:{port}/v1/docs  (POST /v1/classify, /v1/lookup, GET /metrics, /readyz)")
    with tempfile.TemporaryDirectory() as own:
        home = Path(os.environ.get("BENTOML_HOME", own))
        server = subprocess.Popen(service_command(host, port), env=service_environment(artifact, index, home))
        signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))  # never leave the server behind
        try:
            code = server.wait()
        except KeyboardInterrupt:  # the terminal sent it to the server too
            code = server.wait(30)
    raise typer.Exit(code)


def judges_known(artifact: PromptArtifact, vocabulary: VocabularyIndex | None) -> bool:
    """Whether the artifact has a threshold for the score that is served with a vocabulary, or without one."""
    score: ScoreName = "neglabel" if vocabulary else "mcm"
    return matching_threshold(artifact.config.open_set, score, vocabulary.digest if vocabulary else None) is not None
