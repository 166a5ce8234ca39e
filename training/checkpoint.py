"""Checkpoints of a run: everything that the next epoch depends on, in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from candor.errors import IntegrityError, InvalidInput

History = list[dict[str, float]]


@dataclass(frozen=True)
class Checkpoint:
    """A run between two epochs.

    Attributes:
        epoch: how many epochs are done.
        tensors: by name: the learner's parameters and the optimiser's and scaler's state.
        history: what was measured in each epoch.
    """

    epoch: int
    tensors: dict[str, Tensor]
    history: History


def save_checkpoint(path: Path, fingerprint: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the old one and put it in its place; a kill at any instant leaves one of the two.

    Args:
        path: file.
        fingerprint: of everything that decides the run.
        checkpoint: to keep.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}
    history = json.dumps(checkpoint.history)
    save_file(tensors, draft, {"fingerprint": fingerprint, "epoch": str(checkpoint.epoch), "history": history})
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def discard_checkpoint(path: Path) -> None:
    """Remove a checkpoint that is not needed any more, and the draft that a kill may have left beside it.

    Args:
        path: file; nothing is done where there is none.
    """
    for file in (path, _draft(path)):
        file.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    return path.with_name(path.name + ".draft")


def load_checkpoint(path: Path, fingerprint: str, device: torch.device) -> Checkpoint | None:
    """Read a checkpoint back.

    Args:
        path: file; None is returned where there is none.
        fingerprint: of the run that wants to go on.
        device: where tensors go.

    Raises:
        IntegrityError: the file is damaged.
        InvalidInput: it belongs to a run with other data or settings.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
        found, epoch, history = meta["fingerprint"], int(meta["epoch"]), json.loads(meta["history"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise IntegrityError(path, "a checkpoint (remove it to start again)", error) from error
    if found != fingerprint:
        raise InvalidInput(
            f"{path} is of another run (other data, method or settings); give the same ones, or remove it to start again"
        )
    return Checkpoint(epoch, tensors, history)
