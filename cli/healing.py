"""Healing an artifact from stored feedback: what `candor calibrate --from-feedback` and `candor watch` share."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from candor.calibration.bins import ReliabilityBins
from candor.calibration.curve_fitting import CurveEvents
from candor.calibration.healing import BINS, Healing, ScopeName, heal
from candor.clip.artifact import ArtifactConfig, PromptArtifact, Reference, Scope, load_config, with_calibrator
from candor.errors import InvalidInput
from cli.healing_report import record, write_report
from monitoring.durations import seconds
from service.feedback.history import read_history
from training.evaluation import ScopeResult

SAME = ("backbone", "learner", "base_classnames", "template", "prompt_sha256")  # what raw logits depend on


@dataclass(frozen=True)
class Look:
    """What stored feedback says about an artifact.

    Attributes:
        artifact: as loaded from disk.
        tags: whose predictions were looked at.
        healing: what was found.
        outside: predictions whose true label was none of the request's, of each scope.
    """

    artifact: PromptArtifact
    tags: tuple[str, ...]
    healing: Healing
    outside: Mapping[ScopeName, CurveEvents]

    @property
    def healed_tag(self) -> str:
        """The tag that the artifact has with the new calibrator."""
        return self.artifact.config.model_copy(update={"calibrator": self.healing.calibrator}).tag

    def write(self, target: Path, replace: bool = False) -> PromptArtifact:
        """Write the artifact with the new calibrator, and from what it was fitted.

        Scopes that are healed take their reference and figures from the predictions that the calibrator was judged on:
        drift is then measured against what it gives on the traffic of now. The histogram of confidence counts those with a
        true label outside of the request's, too: drift compares all predictions. FD and text deviation do not depend on it.
        """
        config = self.artifact.config
        results = {scope: _result(config, self.healing, scope) for scope in _healed(self.healing)}
        reference: dict[Scope, Reference] = {
            scope: result.reference().model_copy(update={"confidence_histogram": self._histogram(scope)})
            for scope, result in results.items()
        }
        evaluation = {scope: result.figures() for scope, result in results.items()}
        return with_calibrator(
            self.artifact,
            target,
            self.healing.calibrator,
            replace,
            reference=config.reference | reference,
            evaluation=config.evaluation | evaluation,
            healing=record(self.healing, self.tags),
            report=partial(write_report, self.healing, self.tags, config.tag),
        )

    def _histogram(self, scope: Scope) -> list[float]:
        """How many of all predictions after the cut are in each of 20 bins of confidence, under the new calibrator."""
        healed, outside = self.healing.scopes[scope], self.outside[scope]
        confidence = healed.found.confidence(outside.of(outside.time > healed.cut))
        return (healed.after.bins.count + ReliabilityBins.of(confidence, confidence > 1, BINS).count).tolist()


def look(artifact: PromptArtifact, feedback: str, earlier: Sequence[Path] = (), since: str | None = None) -> Look:
    """See what feedback says about an artifact.

    Args:
        artifact: as loaded from disk.
        feedback: URL of the database, or path of a SQLite file.
        earlier: directories of artifacts of the same prompt with other calibrators, whose predictions count too.
        since: how far to look back, such as 7d; None is as far as there is.

    Raises:
        InvalidInput: an earlier artifact is of another prompt, `since` is no duration, or the feedback cannot be read.
        IntegrityError: an earlier artifact is damaged.
    """
    begin = None if since is None else time.time() - seconds(since)
    tags = tuple(dict.fromkeys([artifact.tag, *(_tag_of_same_prompt(artifact.config, path) for path in earlier)]))
    history = read_history(feedback, tags, begin)
    return Look(artifact, tags, heal(artifact.config.calibrator, history.judged), history.outside)


def _tag_of_same_prompt(config: ArtifactConfig, path: Path) -> str:
    other = load_config(path)
    if different := [name for name in SAME if getattr(other, name) != getattr(config, name)]:
        raise InvalidInput(f"{path} is no earlier version of {config.tag}: its {different[0]} is another one")
    if other.calibrator.distances != config.calibrator.distances:
        raise InvalidInput(f"{path} is no earlier version of {config.tag}: its calibrator has another nearest or near")
    return other.tag


def _healed(healing: Healing) -> list[Scope]:
    return [name for name, scope in healing.scopes.items() if scope.objection is None]


def _result(config: ArtifactConfig, healing: Healing, scope: Scope) -> ScopeResult:
    """The scope's later predictions under the new calibrator. What needs whole probability vectors is not known."""
    judged, before = healing.scopes[scope].after, config.evaluation.get(scope, {})
    fd, deviation = (before.get(name, float("nan")) for name in ("fd", "text_deviation"))
    return ScopeResult(judged.confidence, judged.correct, fd=fd, text_deviation=deviation)
