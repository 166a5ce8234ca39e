"""Which images a prompt was tuned on, by content: so that a folder that changed since cannot pass them off as unseen."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from candor.clip.artifact import PromptArtifact
from candor.images import UnreadableImage
from training.data import Sample
from training.views import content_of


def digest_of(sample: Sample) -> str | None:
    """sha256 of a sample's content (the file's bytes, or the pixels of a drawn picture); None where it cannot be read."""
    try:
        return content_of(sample).digest.hex()
    except UnreadableImage:
        return None


def digests_of(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Digests of the samples that can be read, in their order."""
    with ThreadPoolExecutor() as pool:
        return tuple(digest for digest in pool.map(digest_of, samples) if digest is not None)


def unseen(artifact: PromptArtifact, samples: Sequence[Sample]) -> list[Sample]:
    """The samples that the artifact was not tuned on; all of them where the artifact does not say."""
    shots = set(artifact.config.shots)
    if not shots:
        return list(samples)
    with ThreadPoolExecutor() as pool:
        digests = pool.map(digest_of, samples)
        return [sample for sample, digest in zip(samples, digests, strict=True) if digest not in shots]
