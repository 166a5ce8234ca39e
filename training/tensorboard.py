"""TensorBoard scalars of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.loop import OnEpoch


@contextmanager
def scalars(directory: Path | None) -> Iterator[OnEpoch]:
    """A callback that writes every figure of an epoch (loss terms, FD, text deviation, validation ECE) as a scalar.

    A resumed run writes its earlier epochs again, into an event file of its own; TensorBoard shows the newest.

    Args:
        directory: for event files; None writes nothing.
    """
    if directory is None:
        yield lambda *_: None
        return
    from torch.utils.tensorboard import SummaryWriter  # a second of imports that most runs do not need

    with SummaryWriter(str(directory)) as writer:

        def write(epoch: int, figures: dict[str, float]) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, epoch + 1)

        yield write
