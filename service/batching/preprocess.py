"""open_clip's test transform in two halves: pictures to bytes one by one, bytes to numbers for a batch at once.

What waits for the model are bytes, a quarter of the memory of floats, and the arithmetic runs where the model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PICTURE_STEPS = frozenset({"Resize", "ResizeKeepRatio", "CenterCrop", "CenterCropOrPad"})  # make a picture of a picture


class Preprocessing:
    """From pictures to what the image tower takes; the same numbers as the transform gives.

    Args:
        transform: of the backbone. One that is not open_clip's own runs as it is.

    Attributes:
        is_known: whether it is one of open_clip's.
    """

    def __init__(self, transform: Callable[[Image.Image], Tensor]) -> None:
        steps = list(getattr(transform, "transforms", ()))
        self._transform, self._steps = transform, steps[:-2]
        self.is_known = _is_known(steps)
        if self.is_known:
            self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (steps[-1].mean, steps[-1].std))

    def picture(self, image: Image.Image) -> Tensor:
        """An RGB picture for `batch`: (3, H, W), uint8 where the transform is known."""
        if not self.is_known:
            return self._transform(image)
        for step in self._steps:
            image = step(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)  # a view: torch starts no threads for it

    def batch(self, pictures: Sequence[Tensor], device: torch.device) -> Tensor:
        """Pictures as the image tower takes them, (B, 3, H, W) float32 on a device."""
        together = torch.stack(list(pictures))
        if device.type == "cuda":
            together = together.pin_memory().to(device, non_blocking=True)
        if not self.is_known:
            return together.to(device)
        numbers = together.to(device, torch.float32).div_(255)
        return numbers.sub_(self._mean.to(device)).div_(self._std.to(device))


def _is_known(steps: list[Any]) -> bool:
    names = [type(step).__name__ for step in steps]
    tail = ["MaybeConvertMode", "MaybeToTensor", "Normalize"]
    return names[-3:] == tail and PICTURE_STEPS.issuperset(names[:-3]) and len(steps[-1].mean) == len(steps[-1].std) == 3
