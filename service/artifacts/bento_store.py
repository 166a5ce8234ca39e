"""Artifacts in the BentoML model store. The only place that talks to it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException

from candor.clip.artifact import load_artifact
from candor.errors import InvalidInput

NAME = "candor-artifact"
FOLDER = "artifact"  # in the entry, beside BentoML's model.yaml

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # else saving a model is reported over the network


def keep(path: Path) -> str:
    """Copy an artifact into the store; one that is there already is left as it is.

    Args:
        path: directory of an artifact.

    Returns:
        Its tag in the store, `candor-artifact:VERSION`.

    Raises:
        IntegrityError: the artifact is damaged.
        InvalidInput: the store cannot be written.
    """
    artifact = load_artifact(path)
    config = artifact.config
    tag = f"{NAME}:{artifact.tag.lower().replace('+', '-')}"
    if any(kept == tag for kept, _ in kept_artifacts()):
        return tag
    metadata = {
        "tag": artifact.tag,
        "method": config.method,
        "backbone": config.backbone.model_dump(),
        "base_labels": len(config.base_classnames),
        "seed": config.seed,
    }
    try:
        with bentoml.models.create(tag, labels={"project": "candor"}, metadata=metadata) as entry:
            shutil.copytree(path, Path(entry.path) / FOLDER)
    except (OSError, BentoMLException) as error:
        raise InvalidInput(f"cannot keep {path} in the model store: {error}") from error
    return tag


def kept_artifacts() -> list[tuple[str, Path]]:
    """Tag and directory of every artifact in the store; whether they are whole is not looked at."""
    versions = sorted((_store() / NAME).glob("*/model.yaml"))
    return [(f"{NAME}:{entry.parent.name}", entry.parent / FOLDER) for entry in versions]


def _store() -> Path:
    from bentoml._internal.configuration.containers import BentoMLContainer  # BentoML has no public name for it

    return Path(BentoMLContainer.model_store_dir.get())
