"""`GET /v1/artifacts`, `POST /v1/artifacts/{tag}/activate`: what can be served, and the switch to it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel

from candor.clip.artifact import CONFIG, BackboneRef
from service.api.openapi import Responses, error
from service.artifacts.activation import Activator
from service.artifacts.catalogue import Entry, Source, catalogue
from service.engine import Engine
from service.settings import Settings
from service.siblings import Siblings

ACTIVATION_ERRORS: Responses = {
    **error(404, "No such artifact"),
    **error(409, "It does not fit, or another activation is under way"),
    **error(422, "It is damaged"),
}


class ServedBackbone(BaseModel):
    """A frozen model."""

    model: str
    pretrained: str


class ArtifactSummary(BaseModel):
    """Something that can be served.

    Attributes:
        tag: as answers name it; null for a damaged one.
        name: of its folder, or its tag in the BentoML model store.
        source: where it is.
        active: whether it answers now.
        problem: why it cannot be served; its prompt's digest is only checked when it is activated.
        method: that tuned it; null for zero-shot.
        backbone: the frozen model it is for.
        base_labels: how many labels it was tuned on.
        created: when it was written.
        seed: of its tuning.
        evaluation: figures by scope, as `candor evaluate` shows them; null for one that is not defined.
    """

    tag: str | None
    name: str
    source: Source
    active: bool
    problem: str | None = None
    method: str | None = None
    backbone: ServedBackbone | None = None
    base_labels: int = 0
    created: datetime | None = None
    seed: int | None = None
    evaluation: dict[str, dict[str, float | None]] = {}


class ArtifactList(BaseModel):
    """What can be served, and what answers now."""

    active: str
    artifacts: list[ArtifactSummary]


def routes(engine: Callable[[], Engine], settings: Settings) -> APIRouter:
    """The routes.

    Args:
        engine: gives the running engine.
        settings: where artifacts are.
    """
    router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"])
    activator = Activator(settings, Siblings.of_this_server())

    @router.get("")
    async def list_artifacts() -> ArtifactList:
        """What can be served: of CANDOR_ARTIFACTS, of the BentoML model store, and without a tuned prompt."""
        running = engine()
        entries = await asyncio.to_thread(catalogue, settings)
        return ArtifactList(active=running.serving.tag, artifacts=[_summary(entry, running) for entry in entries])

    @router.post("/{tag}/activate", responses=ACTIVATION_ERRORS)
    async def activate_artifact(
        tag: Annotated[str, Path(min_length=1, max_length=200, description="tag or name, of GET /v1/artifacts")],
    ) -> ArtifactSummary:
        """Answer with another artifact from now on. Requests under way end with the old one; a bad one changes nothing.

        With several workers the one that took this request has switched when it answers; the others follow within seconds.
        """
        running = engine()
        return _summary(await activator.activate(running, tag), running)

    return router


def _summary(entry: Entry, engine: Engine) -> ArtifactSummary:
    serving, config = engine.serving, entry.config
    summary = ArtifactSummary(
        tag=entry.tag, name=entry.name, source=entry.source, active=entry.tag == serving.tag, problem=entry.problem
    )
    if config is None:
        if entry.source == "zero-shot":  # on the weights that are there
            summary.backbone = _backbone(BackboneRef.of(serving.classifier.backbone))
        return summary
    summary.method, summary.backbone = config.method, _backbone(config.backbone)
    summary.base_labels, summary.seed, summary.created = len(config.base_classnames), config.seed, _written(entry)
    summary.evaluation = {
        scope: {name: value if math.isfinite(value) else None for name, value in figures.items()}
        for scope, figures in config.evaluation.items()
    }
    return summary


def _backbone(reference: BackboneRef) -> ServedBackbone:
    return ServedBackbone(model=reference.model, pretrained=reference.pretrained)


def _written(entry: Entry) -> datetime | None:
    try:
        return datetime.fromtimestamp((entry.path / CONFIG).stat().st_mtime, UTC) if entry.path else None
    except OSError:  # removed since it was read
        return None
