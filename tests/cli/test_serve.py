"""`candor serve` says beforehand where `open_set.known` will be null, and opens no door by mistake."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from candor.calibration.open_set import OpenSetThreshold
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, save_artifact
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from cli.main import app
from cli.serve import _run, judges_known, refuse_open_door, refuse_taken_port
from cli.server import service_environment
from service.settings import Settings, load_settings
from vocab_index.index import VocabularyIndex
from vocab_index.sources.words import collect


@pytest.fixture
def artifact(tmp_path: Path, tiny_clip: Backbone) -> PromptArtifact:
    return save_artifact(
        tmp_path / "artifact",
        ContextLearner.create(LearnerConfig(n_ctx=4), tiny_clip, ()),
        backbone=BackboneRef.of(tiny_clip),
        method="coop",
        regularizers={},
        base_classnames=("cat", "dog"),
        template="a {}.",
        seed=1,
    )


def with_threshold(artifact: PromptArtifact, vocabulary: str | None) -> PromptArtifact:
    limit = OpenSetThreshold(
        score="neglabel" if vocabulary else "mcm",
        threshold=0.5,
        true_positive_rate=0.95,
        images=9,
        labels=2,
        vocabulary=vocabulary,
    )
    return PromptArtifact(artifact.config.model_copy(update={"open_set": (limit,)}), artifact.ctx, artifact.path)


def test_a_threshold_is_for_one_score_and_one_vocabulary(artifact: PromptArtifact, tiny_clip: Backbone) -> None:
    one, other = (VocabularyIndex.build(tiny_clip, collect("x", words)) for words in (["sun", "moon"], ["sun", "tree"]))
    for vocabulary in (one, None):
        assert not judges_known(artifact, vocabulary)
    assert [judges_known(with_threshold(artifact, one.digest), v) for v in (one, other, None)] == [True, False, False]
    assert [judges_known(with_threshold(artifact, None), v) for v in (one, None)] == [False, True]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_is_served_without_keys(host: str) -> None:
    refuse_open_door(host, Settings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "8.8.8.8"])
def test_other_machines_are_not_served_without_keys(host: str) -> None:
    with pytest.raises(InvalidInput, match="there are no API keys: give --keys FILE, serve"):
        refuse_open_door(host, Settings())
    refuse_open_door(host, Settings(keys=Path("keys.json")))
    refuse_open_door(host, Settings(allow_anonymous=True))


@pytest.mark.parametrize("host", ["localhost", "", "1.2.3", "example.org"])
def test_a_host_is_an_address(host: str) -> None:
    with pytest.raises(InvalidInput, match="is no IP address"):
        refuse_open_door(host, Settings(allow_anonymous=True))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MAX_PIXELS", "abc", "CANDOR_MAX_PIXELS='abc': must be a valid integer"),
        ("MAX_PIXELS", "9" * 5000, f"CANDOR_MAX_PIXELS='{'9' * 60}...': "),
        ("THREADS", "many", "CANDOR_THREADS='many': must be 'auto' or must be a valid integer"),
        ("RATE_LIMIT", "foo", "CANDOR_RATE_LIMIT='foo': must be requests a time, such as 600/minute"),
        ("CORS_ORIGINS", "[bad", "CANDOR_CORS_ORIGINS='[bad': must be a JSON list of origins"),
        ("CORS_ORIGINS", "a.example", "CANDOR_CORS_ORIGINS='a.example': 'a.example' is not an origin such as https://"),
        ("ALLOW_ANONYMOUS", "perhaps", "CANDOR_ALLOW_ANONYMOUS='perhaps': must be a valid boolean"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_line_before_anything_starts(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CANDOR_{name}", value)
    result = CliRunner().invoke(app, ["serve"])
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith(f"candor: {sentence}")


def test_each_bad_setting_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOR_MAX_PIXELS", "0")
    monkeypatch.setenv("CANDOR_LOG_LEVEL", "LOUD")
    with pytest.raises(InvalidInput) as refused:
        load_settings()
    assert str(refused.value).splitlines() == [
        "CANDOR_MAX_PIXELS='0': must be greater than or equal to 1",
        "CANDOR_LOG_LEVEL='LOUD': must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
    ]


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CANDOR_{name.upper()}", raising=False)
    bare = load_settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(f"CANDOR_{name.upper()}", "")
    assert load_settings() == bare
    assert (bare.index, bare.keys, bare.state.name) == (None, None, "candor")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_taken_port_is_one_sentence(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as taken:
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip("no such address here")
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["serve", "--host", host, "--port", str(port)])
        assert result.exit_code == 2
        (line,) = result.output.splitlines()[-1:]
        assert line == f"candor: cannot listen on {host} port {port}: Address already in use; choose another with --port"
        assert "/v1/docs" not in result.output
    refuse_taken_port(host, port)


def test_a_signal_while_the_server_starts_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = subprocess.Popen, []

    def signalled(command: list[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        started.append(start(command, env=env))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[0]

    def too_early(*_: object) -> None:
        raise AssertionError("nobody acts on it")

    before = {number: signal.signal(number, too_early) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(subprocess, "Popen", signalled)
    try:
        assert _run([sys.executable, "-c", "import time; time.sleep(60)"], os.environ) == 0
        assert started[0].returncode == -signal.SIGTERM
    finally:
        started[0].kill()
        started[0].wait()
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0"], "candor: 0.0.0.0 can be reached from other machines and there are no API keys"),
        (["--artifact", "no/such"], "candor: no/such/config.json: expected a file, found nothing"),
        (["--artifacts", "no/such"], "candor: --artifacts no/such is no folder"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("CANDOR_KEYS", "CANDOR_ALLOW_ANONYMOUS"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code == 2
    assert sentence in result.output


def test_the_environment_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOR_STATE", "before")
    monkeypatch.setenv("CANDOR_INDEX", "kept")
    found = service_environment(tmp_path / "a", None, tmp_path / "home", {"CANDOR_STATE": "mine", "CANDOR_KEYS": "k"})
    assert (found["CANDOR_ARTIFACT"], found["CANDOR_INDEX"]) == (str(tmp_path / "a"), "kept")
    assert (found["CANDOR_STATE"], found["CANDOR_KEYS"]) == ("mine", "k")
    assert found["BENTOML_HOME"] == str(tmp_path / "home")
