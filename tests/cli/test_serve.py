"""`candor serve` says beforehand where `open_set.known` will be null, and opens no door by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from candor.calibration.open_set import OpenSetThreshold
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, save_artifact
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from cli.main import app
from cli.serve import judges_known, refuse_open_door
from cli.server import service_environment
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
    refuse_open_door(host, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "8.8.8.8"])
def test_other_machines_are_not_served_without_keys(host: str) -> None:
    for closed in ({}, {"CANDOR_ALLOW_ANONYMOUS": "false"}, {"CANDOR_ALLOW_ANONYMOUS": "", "CANDOR_KEYS": ""}):
        with pytest.raises(InvalidInput, match="there are no API keys: give --keys FILE, serve"):
            refuse_open_door(host, closed)
    refuse_open_door(host, {"CANDOR_KEYS": "keys.json"})
    refuse_open_door(host, {"CANDOR_ALLOW_ANONYMOUS": "true"})


@pytest.mark.parametrize("host", ["localhost", "", "1.2.3", "example.org"])
def test_a_host_is_an_address(host: str) -> None:
    with pytest.raises(InvalidInput, match="is no IP address"):
        refuse_open_door(host, {"CANDOR_ALLOW_ANONYMOUS": "true"})


def test_a_doubtful_permission_is_none() -> None:
    with pytest.raises(InvalidInput, match="must be true or false"):
        refuse_open_door("0.0.0.0", {"CANDOR_ALLOW_ANONYMOUS": "perhaps"})


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
