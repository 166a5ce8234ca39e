"""Random weights in a file, so that the service, the raw model and transformers' have the same ones."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save_file

from candor.clip.backbone import RANDOM_WEIGHTS, load_backbone

LOGIT_SCALE = 100.0  # where trained CLIPs end; at the start of training nearly all labels are equally probable


def write_random_weights(model: str, path: Path) -> None:
    """Random weights of an open_clip model, the same every time.

    Args:
        model: its name.
        path: of the .safetensors file.
    """
    torch.manual_seed(0)
    weights = load_backbone(model, RANDOM_WEIGHTS).model.state_dict()
    weights["logit_scale"] = torch.tensor(math.log(LOGIT_SCALE))
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
