"""The optimiser of a run with all its state: schedule, steps, loss scaling, and what a checkpoint must hold of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.config import TrainConfig

SCALER = "scaler.scale"
GROWTH = "scaler.growth"


def learning_rate(epoch: int, config: TrainConfig) -> float:
    """CoOp's schedule: one constant warm-up epoch, then a cosine stepped once an epoch (Dassl, WARMUP_RECOUNT).

    lr_0 = warmup_lr; lr_e = 0.5 lr (1 + cos(pi (e - 1) / E)) for the e-th epoch after it, counted from 1.

    Args:
        epoch: from 0.
        config: gives lr, E and warmup_lr.
    """
    if epoch == 0:
        return config.warmup_lr
    return 0.5 * config.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / config.epochs))


class Stepper:
    """Takes optimiser steps on a learner's float32 parameters; fp16 losses are scaled so that small gradients survive.

    Args:
        learner: its parameters are changed in place.
        config: the recipe.
        device: of the learner.
    """

    def __init__(self, learner: nn.Module, config: TrainConfig, device: torch.device) -> None:
        self._named = dict(learner.named_parameters())
        self._config = config
        parameters = list(self._named.values())
        self._optimiser: torch.optim.Optimizer = (
            torch.optim.Adam(parameters, config.learning_rate, weight_decay=config.weight_decay)
            if config.optimiser == "adam"
            else torch.optim.SGD(
                parameters, config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
            )
        )
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.autocast == "fp16")

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate of an epoch (from 0)."""
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(epoch, self._config)

    @property
    def learning_rate(self) -> float:
        """Of the epoch."""
        return float(self._optimiser.param_groups[0]["lr"])

    def step(self, loss: Tensor) -> None:
        """Backward, clip where asked, and change the parameters."""
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()
        if self._config.clip_norm is not None:
            self._scaler.unscale_(self._optimiser)
            nn.utils.clip_grad_norm_(list(self._named.values()), self._config.clip_norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()

    def largest(self) -> Tensor:
        """The largest absolute value of any parameter, a scalar; NaN or infinite once the run has gone wrong."""
        return torch.stack([value.detach().abs().max() for value in self._named.values()]).max()

    def state(self) -> dict[str, Tensor]:
        """Parameters, optimiser and scaler as named tensors."""
        tensors: dict[str, Tensor] = {f"learner.{name}": value for name, value in self._named.items()}
        for row, entries in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{row}.{key}": value for key, value in entries.items() if isinstance(value, Tensor)}
        if self._scaler.is_enabled():
            scaler = self._scaler.state_dict()
            tensors |= {SCALER: torch.tensor(scaler["scale"]), GROWTH: torch.tensor(scaler["_growth_tracker"])}
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go back to a `state`."""
        with torch.no_grad():
            for name, parameter in self._named.items():
                parameter.copy_(tensors[f"learner.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, row, key = name.split(".", 2)
                state.setdefault(int(row), {})[key] = value
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": state, "param_groups": groups})
        if self._scaler.is_enabled():
            known = self._scaler.state_dict()
            known |= {"scale": float(tensors[SCALER]), "_growth_tracker": int(tensors[GROWTH])}
            self._scaler.load_state_dict(known)
