"""`candor serve` says beforehand where `open_set.known` will be null."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor.calibration.open_set import OpenSetThreshold
from candor.clip import ContextLearner, LearnerConfig, PromptArtifact, save_artifact
from candor.clip.artifact import BackboneRef
from candor.clip.backbone import Backbone
from cli.serve import judges_known
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
