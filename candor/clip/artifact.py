"""The prompt artifact: what tuning writes and the service loads. A directory of JSON and safetensors; no pickle."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors
import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file

from candor.calibration.calibrators import Calibrator, TemperatureCalibrator
from candor.calibration.open_set import OpenSetThreshold
from candor.clip.backbone import Backbone
from candor.clip.learners import LEARNERS, LearnerConfig, PromptLearner
from candor.errors import IntegrityError, InvalidInput
from candor.files import file_digest, whole_directory

SCHEMA_VERSION: Literal[1] = 1
CONFIG, PROMPT, REPORT = "config.json", "prompt.safetensors", "report"
OF_HEALING = ("feedback.json", "feedback.md", "feedback.png")  # of the report: from what feedback the calibrator was fitted
Scope = Literal["base", "new"]
SCOPES: tuple[Scope, Scope] = ("base", "new")
Figure = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]  # JSON has no NaN


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackboneRef(_Record):
    """Which frozen model an artifact was tuned on."""

    model: str
    pretrained: str
    sha256: str

    @classmethod
    def of(cls, backbone: Backbone) -> BackboneRef:
        """The reference of a loaded backbone."""
        return cls(model=backbone.name, pretrained=backbone.pretrained, sha256=backbone.digest)


class Bins(_Record):
    """Reliability bins as stored."""

    count: list[float]
    confidence: list[float]
    correct: list[float]


class Reference(_Record):
    """What the artifact's own evaluation saw in one scope; drift is measured against it.

    Attributes:
        reliability: reliability bins (10).
        confidence_histogram: predictions in each of 20 equal confidence bins.
    """

    reliability: Bins
    confidence_histogram: list[float]


class ArtifactConfig(_Record):
    """`config.json`. The evaluation has the figures of `training.evaluation`; null stands for one that is not defined.

    `healing` says from what feedback the calibrator was fitted; empty where it was not. Reference and evaluation of a
    healed scope are of that feedback (docs/calibration-in-production.md).
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    backbone: BackboneRef
    learner: LearnerConfig
    method: str
    regularizers: dict[str, float]
    base_classnames: tuple[str, ...] = Field(min_length=1)
    template: str
    calibrator: Calibrator = TemperatureCalibrator()
    open_set: tuple[OpenSetThreshold, ...] = ()  # at most one a score and vocabulary
    reference: dict[Scope, Reference] = {}
    evaluation: dict[Scope, dict[str, Figure]] = {}
    training: dict[str, Any] = {}
    healing: dict[str, Any] = {}
    seed: int
    shots: tuple[str, ...] = ()  # sha256 of the content of each image that the prompt was tuned on
    versions: dict[str, str] = {}
    prompt_sha256: str

    @property
    def tag(self) -> str:
        """A short name that changes with all that decides answers: the method, and the head of a digest."""
        answers = {"backbone", "learner", "base_classnames", "template", "calibrator", "open_set", "prompt_sha256"}
        digest = hashlib.sha256(self.model_dump_json(include=answers).encode()).hexdigest()
        return f"{self.method}-{digest[:12]}"


def library_versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {name: version(name) for name in ("torch", "open_clip_torch")}


class PromptArtifact:
    """A tuned prompt with everything that is needed to use and to judge it.

    Args:
        config: what `config.json` says.
        ctx: the context vectors.
        path: where it was loaded from, if it was.
    """

    def __init__(self, config: ArtifactConfig, ctx: torch.Tensor, path: Path | None = None) -> None:
        self.config, self.ctx, self.path = config, ctx, path

    @property
    def tag(self) -> str:
        """See `ArtifactConfig.tag`."""
        return self.config.tag

    def learner(self, backbone: Backbone) -> PromptLearner:
        """The tuned learner, frozen, on the backbone's device.

        Raises:
            IntegrityError: the backbone is not the one the prompt was tuned on.
        """
        if backbone.digest != self.config.backbone.sha256:
            where = self.path or "artifact"
            expected = f"backbone {self.config.backbone.model} with weights {self.config.backbone.sha256[:12]}"
            raise IntegrityError(where, expected, f"{backbone.name} with weights {backbone.digest[:12]}")
        learner = LEARNERS[self.config.learner.kind].create(self.config.learner, backbone, self.config.base_classnames)
        try:
            learner.load_state_dict({"ctx": self.ctx}, strict=True)
        except RuntimeError as error:
            expected = f"ctx of shape {tuple(dict(learner.named_parameters())['ctx'].shape)}"
            raise IntegrityError(self.path or "artifact", expected, tuple(self.ctx.shape)) from error
        return learner.to(backbone.device).requires_grad_(False).eval()


def save_artifact(
    path: Path,
    learner: PromptLearner,
    replace: bool = False,
    report: Callable[[Path], None] | None = None,
    **fields: Any,
) -> PromptArtifact:
    """Write an artifact whole or not at all.

    Args:
        path: directory to make.
        learner: the tuned learner.
        replace: whether an existing artifact is replaced.
        report: writes files for people into the directory it is given; nothing reads them back.
        fields: the other fields of ArtifactConfig.

    Returns:
        The artifact as loaded back from disk.
    """
    state = list(learner.state_dict())
    if state != ["ctx"]:
        raise InvalidInput(f"an artifact keeps a learner's ctx alone; {type(learner).__name__} has {', '.join(state)}")
    with whole_directory(path, replace, mark=CONFIG) as draft:
        save_file({"ctx": learner.state_dict()["ctx"].detach().cpu().contiguous()}, draft / PROMPT)
        (draft / PROMPT).chmod(0o644)  # safetensors lets nobody else read it; its neighbours are open
        config = ArtifactConfig(
            learner=learner.config, versions=library_versions(), prompt_sha256=file_digest(draft / PROMPT), **fields
        )
        (draft / CONFIG).write_text(config.model_dump_json(indent=2) + "\n")
        if report is not None:
            (draft / REPORT).mkdir()
            report(draft / REPORT)
    return load_artifact(path)


def with_calibrator(
    artifact: PromptArtifact,
    path: Path,
    calibrator: Calibrator,
    replace: bool = False,
    *,
    reference: dict[Scope, Reference],
    evaluation: dict[Scope, dict[str, float]],
    open_set: tuple[OpenSetThreshold, ...] | None = None,
    healing: dict[str, Any] | None = None,
    report: Callable[[Path], None] | None = None,
) -> PromptArtifact:
    """Write a loaded artifact again with another calibrator, whole or not at all. The prompt's file is copied as it is.

    Args:
        artifact: as loaded from disk.
        path: directory to make; the artifact's own directory with `replace`.
        calibrator: the new one.
        replace: whether an existing artifact is replaced, with all that its directory holds.
        reference: what the evaluation under the new calibrator saw; the old one would no longer be true.
        evaluation: its figures.
        open_set: new thresholds; None keeps the old ones, which no calibrator changes: open-set scores are of cosines.
        healing: from what feedback the calibrator was fitted; None or empty where it was not, and then OF_HEALING is left
            out of the report.
        report: writes files for people into the directory it is given, beside those that are there.

    Returns:
        The artifact as loaded back from disk.

    Raises:
        InvalidInput: `path` is there and is not to be replaced, or `artifact` was not loaded from disk.
        IntegrityError: the prompt's file changed since the artifact was loaded.
    """
    if artifact.path is None:
        raise InvalidInput("only an artifact that was loaded from disk can be written again with another calibrator")
    changes: dict[str, Any] = {
        "calibrator": calibrator,
        "reference": reference,
        "evaluation": evaluation,
        "healing": healing or {},
    }
    if open_set is not None:
        changes["open_set"] = open_set
    config = artifact.config.model_copy(update=changes)
    with whole_directory(path, replace, mark=CONFIG) as draft:
        shutil.copyfile(artifact.path / PROMPT, draft / PROMPT)
        if (artifact.path / REPORT).is_dir():
            stale = () if config.healing else OF_HEALING
            shutil.copytree(artifact.path / REPORT, draft / REPORT, ignore=shutil.ignore_patterns(*stale))
        if report is not None:
            (draft / REPORT).mkdir(exist_ok=True)
            report(draft / REPORT)
        digest = file_digest(draft / PROMPT)
        if digest != config.prompt_sha256:
            raise IntegrityError(artifact.path / PROMPT, f"sha256 {config.prompt_sha256}", digest)
        (draft / CONFIG).write_text(config.model_dump_json(indent=2) + "\n")
    return load_artifact(path)


def load_config(path: Path) -> ArtifactConfig:
    """What an artifact says about itself; its prompt is not read.

    Raises:
        IntegrityError: a file is missing, or the configuration is damaged or has another schema.
    """
    for name in (CONFIG, PROMPT):
        if not (path / name).is_file():
            raise IntegrityError(path / name, "a file", "nothing")
    try:
        document = json.loads((path / CONFIG).read_text())
        found = document.get("schema_version") if isinstance(document, dict) else None
        if found != SCHEMA_VERSION:
            raise IntegrityError(path / CONFIG, f"schema_version {SCHEMA_VERSION}", found)
        config = ArtifactConfig.model_validate(document)
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        problem = "; ".join(str(error).splitlines()[:3])
        raise IntegrityError(path / CONFIG, "an artifact's configuration", problem) from error
    if config.learner.kind not in LEARNERS:
        raise IntegrityError(path / CONFIG, f"learner kind {' or '.join(LEARNERS)}", config.learner.kind)
    return config


def load_artifact(path: Path) -> PromptArtifact:
    """Load and check an artifact.

    Raises:
        IntegrityError: a file is missing or damaged, the schema is another one, or a digest does not match.
    """
    config = load_config(path)
    digest = file_digest(path / PROMPT)
    if digest != config.prompt_sha256:
        raise IntegrityError(path / PROMPT, f"sha256 {config.prompt_sha256}", digest)
    try:
        ctx = load_file(path / PROMPT)["ctx"]
    except (safetensors.SafetensorError, KeyError) as error:
        raise IntegrityError(path / PROMPT, "a safetensors file with 'ctx'", error) from error
    return PromptArtifact(config, ctx, path)
