"""Image features of labelled samples under a frozen tower: computed once, kept by content, or made anew each time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from candor.clip.backbone import Backbone, Progress, no_progress
from candor.errors import InvalidInput
from candor.images import UnreadableImage
from training.augment import AugmentConfig
from training.data import Sample
from training.feature_cache import FeatureCache, default_cache_dir
from training.views import Content, ViewMaker, content_of, picture_of, view_key

__all__ = ["EncodedSamples", "FeatureCache", "FreshViews", "default_cache_dir", "encode_samples", "readable_samples"]

THREADS = min(8, os.cpu_count() or 1)
NAMED = 10  # unreadable images that an error names
TEST_TRANSFORM = AugmentConfig()
NOTHING_KEPT = FeatureCache(None)

_A = TypeVar("_A")
_B = TypeVar("_B")


@dataclass(frozen=True)
class EncodedSamples:
    """Samples as the frozen tower sees them.

    Attributes:
        image_features: (N, V, D) float32 of L2 norm 1; a row for each sample that could be read, in their order.
        labels: (N,) int64.
        skipped: for each sample that could not be read, its file and why.
    """

    image_features: Tensor
    labels: Tensor
    skipped: tuple[str, ...] = ()


def encode_samples(
    backbone: Backbone,
    samples: Sequence[Sample],
    *,
    augment: AugmentConfig = TEST_TRANSFORM,
    seed: int = 0,
    cache: FeatureCache = NOTHING_KEPT,
    skip_bad: bool = False,
    progress: Progress = no_progress,
) -> EncodedSamples:
    """Image features of samples; what the cache has is neither decoded nor encoded.

    The bits of a feature depend on its image, the view and the backbone alone: not on what else is encoded, on the cache,
    or on a run that was cut short.

    Args:
        backbone: frozen.
        samples: what to encode; none gives an empty result.
        augment: V random views a sample, or the test transform.
        seed: of the random views.
        cache: where features are looked up and kept.
        skip_bad: leave out images that cannot be read, and name them in the result.
        progress: is shown a step a sample.

    Returns:
        The features, on the backbone's device.

    Raises:
        InvalidInput: images cannot be read; names them all (the first ten, and how many more), after all others are
            encoded and kept.
        IntegrityError: the cache is damaged, or an image file changed while it was read.
    """
    rows: list[Tensor] = []
    labels: list[int] = []
    skipped: list[str] = []
    with ThreadPoolExecutor(THREADS) as pool:
        encoder = _Encoder(ViewMaker(backbone, augment, seed), cache, pool)
        for chunk in _chunks(progress(samples, "encode images"), encoder.samples_at_once):
            for sample, result in zip(chunk, encoder(chunk), strict=True):
                if isinstance(result, UnreadableImage):
                    skipped.append(str(result))
                else:
                    rows.append(result)
                    labels.append(sample.label)
    _refuse(skipped, len(samples), skip_bad)
    features = torch.stack(rows) if rows else torch.empty(0, max(augment.views, 1), backbone.embed_dim)
    on = backbone.device
    return EncodedSamples(features.to(on), torch.tensor(labels, dtype=torch.int64, device=on), tuple(skipped))


def readable_samples(
    samples: Sequence[Sample], *, skip_bad: bool = False, progress: Progress = no_progress
) -> tuple[list[Sample], tuple[str, ...]]:
    """The samples whose images can be decoded: what `FreshViews` should be given where nothing was encoded before.

    Returns:
        The samples, and for each of the others its file and why.

    Raises:
        InvalidInput: images cannot be read, and `skip_bad` is off.
    """
    kept: list[Sample] = []
    skipped: list[str] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for chunk in _chunks(progress(samples, "read images"), 8 * THREADS):
            for sample, result in zip(chunk, pool.map(_or_why_not(_opens), chunk), strict=True):
                if isinstance(result, UnreadableImage):
                    skipped.append(str(result))
                else:
                    kept.append(sample)
    _refuse(skipped, len(samples), skip_bad)
    return kept, tuple(skipped)


class FreshViews:
    """Decodes and encodes anew whenever it is asked: a new random view each epoch, as the official code.

    View e of an image is the same here and in `encode_samples`, so epoch e < V sees what the cached view e shows (to
    rounding: batches are not filled up here).

    Args:
        backbone: frozen.
        samples: that can be read, as `readable_samples` gives them.
        augment: scale and flip; its `views` only says whether there is chance at all (0: the test transform).
        seed: of the random views.
    """

    def __init__(self, backbone: Backbone, samples: Sequence[Sample], augment: AugmentConfig, seed: int) -> None:
        self._maker, self._samples = ViewMaker(backbone, augment, seed), tuple(samples)

    def __call__(self, rows: Tensor, epoch: int) -> Tensor:
        """Image features of some samples in one epoch.

        Args:
            rows: (B,) which samples.
            epoch: from 0; the number of the view.

        Returns:
            (B, D) float32 of L2 norm 1, on the backbone's device.

        Raises:
            UnreadableImage: an image cannot be read.
        """
        backbone = self._maker.backbone
        if not len(rows):
            return torch.empty(0, backbone.embed_dim, device=backbone.device)
        with ThreadPoolExecutor(THREADS) as pool:
            views = list(pool.map(partial(self._view, epoch), rows.tolist()))
        return backbone.encode_image(torch.stack(views))

    def _view(self, epoch: int, row: int) -> Tensor:
        sample = self._samples[row]
        content = content_of(sample)
        return self._maker.tensor(picture_of(sample, content), content.digest, epoch)


class _Encoder:
    """Features of a few samples at a time: looked up, or decoded in threads while the tower works.

    The tower always gets batches of one size, filled up with blank pictures. Matrix products round by the size of the
    batch (1e-7 in float32, 1e-3 in bfloat16), so without this a feature would depend on its neighbours, and a run that
    finds half of its features kept would not give the bits of one that finds none.
    """

    def __init__(self, maker: ViewMaker, cache: FeatureCache, pool: ThreadPoolExecutor) -> None:
        self._maker, self._cache, self._pool = maker, cache, pool
        self._batch = 32 if maker.backbone.device.type == "cpu" else 256
        self._prefixes = [maker.key_prefix(view) for view in range(maker.count)]

    @property
    def samples_at_once(self) -> int:
        """So many that their views are about two batches: what is held in memory."""
        return max(1, 2 * self._batch // self._maker.count)

    def __call__(self, samples: Sequence[Sample]) -> list[Tensor | UnreadableImage]:
        """For each sample its (V, D) on the CPU, or why it cannot be read."""
        contents = list(self._pool.map(_or_why_not(content_of), samples))
        keys = [self._keys(content) for content in contents]
        features = self._cache.get({key for row in keys for key in row}, self._maker.backbone.embed_dim)
        missing = [i for i, row in enumerate(keys) if any(key not in features for key in row)]
        made: dict[bytes, Tensor] = {}
        pending: list[tuple[bytes, Tensor]] = []
        views = _or_why_not(partial(self._views, features))
        for i, result in zip(missing, self._pool.map(views, [(samples[i], contents[i]) for i in missing]), strict=True):
            if isinstance(result, UnreadableImage):
                contents[i] = result
                continue
            pending += result
            while len(pending) >= self._batch:
                made |= self._encode(pending[: self._batch])
                del pending[: self._batch]
        if pending:
            made |= self._encode(pending)
        self._cache.put(made)
        features |= made
        return [
            content if isinstance(content, UnreadableImage) else torch.stack([features[key] for key in row])
            for content, row in zip(contents, keys, strict=True)
        ]

    def _keys(self, content: Content | UnreadableImage) -> list[bytes]:
        """A key for each view; none for what cannot be read."""
        return [view_key(p, content.digest) for p in self._prefixes] if isinstance(content, Content) else []

    def _views(self, known: dict[bytes, Tensor], item: tuple[Sample, Content]) -> list[tuple[bytes, Tensor]]:
        """Key and tensor of each view of one sample that is not known yet."""
        sample, content = item
        image = picture_of(sample, content)
        keyed = enumerate(self._keys(content))
        return [(key, self._maker.tensor(image, content.digest, view)) for view, key in keyed if key not in known]

    def _encode(self, views: Sequence[tuple[bytes, Tensor]]) -> dict[bytes, Tensor]:
        images = torch.zeros(self._batch, *views[0][1].shape)
        images[: len(views)] = torch.stack([tensor for _, tensor in views])
        features = self._maker.backbone.encode_image(images)[: len(views)].cpu()
        return dict(zip([key for key, _ in views], features, strict=True))


def _or_why_not(function: Callable[[_A], _B]) -> Callable[[_A], _B | UnreadableImage]:
    """The function with the one error that is counted instead of raised as a result."""

    def attempt(value: _A) -> _B | UnreadableImage:
        try:
            return function(value)
        except UnreadableImage as error:
            return error

    return attempt


def _opens(sample: Sample) -> None:
    sample.open()


def _chunks(items: Iterable[_A], size: int) -> Iterator[list[_A]]:
    chunk: list[_A] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _refuse(unreadable: Sequence[str], of: int, skip_bad: bool) -> None:
    if unreadable and not skip_bad:
        more = f"; and {len(unreadable) - NAMED} more" if len(unreadable) > NAMED else ""
        raise InvalidInput(
            f"{len(unreadable)} of {of} images cannot be read: {'; '.join(unreadable[:NAMED])}{more}. "
            "Mend or remove them; candor tune, evaluate and calibrate leave them out with --skip-bad"
        )
