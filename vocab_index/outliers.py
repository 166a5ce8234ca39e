"""DOR's outliers: which words of a vocabulary are candidates, and which of them a step draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candor.errors import InvalidInput
from candor.streams import stream
from vocab_index.index import VocabularyIndex
from vocab_index.sources.overlap import OverlapFilter
from vocab_index.store.faiss_store import VectorStore

Selection = Literal["near", "far", "random"]
ROUNDING = 2e-4  # twice the largest error of a float32 inner product of unit vectors, up to a width of 1,600
ROWS = 1024  # of a block; float64 takes twice the memory
LEAST_CHANCE = 1e-6  # of an outlier whose similarity is not positive


@dataclass(frozen=True)
class OutlierPool:
    """DOR's candidates: K words that are no base class (Wang, Li and Wei, ICML 2025, "Dynamic Outlier Regularization").

    The published rule is `near`: the words of largest s(w) = (1/C) sum_c cos(w, t_c), with t the zero-shot text features
    of the base classes. All vectors have norm 1, so s(w) = <w, (1/C) sum_c t_c>: one inner product ranks a word, however
    many classes there are. What is ranked is exact: float32 finds the words that may be among the first, and float64
    decides, so the pool is that of the pairwise definition on every machine.

    Attributes:
        words: in the order of their selection; equally similar ones in the vocabulary's.
        similarity: s of each, (K,).
        features: zero-shot text features of the words, (K, D).
        dropped: words that would have been selected but contain a class name, in the order in which they came up; what
            `OverlapFilter` says.
    """

    words: tuple[str, ...]
    similarity: tuple[float, ...]
    features: Tensor
    dropped: tuple[str, ...] = ()

    @classmethod
    def select(
        cls,
        selection: str,
        index: VocabularyIndex,
        base_text_features: Tensor,
        k: int,
        class_names: Sequence[str],
        seed: int = 0,
    ) -> Self:
        """A pool by the name of its rule: "near", "far" or "random".

        Args:
            selection: the rule.
            index: the vocabulary, made with the backbone of the features.
            base_text_features: zero-shot, (C, D) of L2 norm 1.
            k: K.
            class_names: of which no word of the pool may contain one.
            seed: of a random pool.

        Raises:
            InvalidInput: no such rule, or as `near`.
        """
        if selection not in get_args(Selection):
            raise InvalidInput(f"unknown selection {selection!r}; valid: {', '.join(get_args(Selection))}")
        if selection == "random":
            return cls.random(index, base_text_features, k, class_names, seed)
        rule = cls.near if selection == "near" else cls.far
        return rule(index, base_text_features, k, class_names)

    @classmethod
    def near(cls, index: VocabularyIndex, base_text_features: Tensor, k: int, class_names: Sequence[str]) -> Self:
        """The K words that are most similar to the base classes on average: DOR's own rule.

        Args:
            index: the vocabulary, made with the backbone of the features.
            base_text_features: zero-shot, (C, D) of L2 norm 1.
            k: K; fewer where the vocabulary has fewer.
            class_names: of which no word may contain one; give the new classes too wherever nothing may leak from them.

        Raises:
            InvalidInput: k < 1; features of another shape, or not finite; or every word contains a class name.
        """
        mean = _mean(index, base_text_features)
        return cls._of(index, _ranked(index.store, mean, 1, k + k // 8), mean, k, class_names, base_text_features.device)

    @classmethod
    def far(cls, index: VocabularyIndex, base_text_features: Tensor, k: int, class_names: Sequence[str]) -> Self:
        """The K least similar words, the least first: an ablation. Arguments and errors are those of `near`."""
        mean = _mean(index, base_text_features)
        return cls._of(index, _ranked(index.store, mean, -1, k + k // 8), mean, k, class_names, base_text_features.device)

    @classmethod
    def random(
        cls, index: VocabularyIndex, base_text_features: Tensor, k: int, class_names: Sequence[str], seed: int
    ) -> Self:
        """Any K words, by the seed alone: an ablation. Other arguments and errors are those of `near`."""
        mean = _mean(index, base_text_features)
        rows = np.random.default_rng(seed).permutation(len(index)).tolist()
        return cls._of(index, rows, mean, k, class_names, base_text_features.device)

    @classmethod
    def oracle(cls, words: Sequence[str], features: Tensor, base_text_features: Tensor) -> Self:
        """The new classes themselves: an upper bound that peeks, never a result.

        Args:
            words: their names.
            features: their zero-shot text features, (K, D) of L2 norm 1.
            base_text_features: zero-shot, (C, D) of L2 norm 1.
        """
        similarity = features.double() @ base_text_features.double().mean(dim=0)
        return cls(tuple(words), tuple(similarity.tolist()), features)

    @classmethod
    def _of(
        cls,
        index: VocabularyIndex,
        rows: Iterable[int],
        mean: NDArray[np.float64],
        k: int,
        class_names: Sequence[str],
        device: torch.device,
    ) -> Self:
        """The first K rows whose words contain no class name."""
        if k < 1:
            raise InvalidInput(f"a pool holds at least 1 outlier, got k = {k}")
        overlap = OverlapFilter(class_names)
        kept: list[int] = []
        dropped: list[str] = []
        for row in rows:
            if overlap.overlaps(index.words[row]):
                dropped.append(index.words[row])
                continue
            kept.append(row)
            if len(kept) == k:
                break
        if not kept:
            raise InvalidInput(f"vocabulary {index.source!r} has no word that does not contain a class name")
        vectors = index.store.vectors(np.array(kept, np.int64))
        similarity = tuple(_inner_products(vectors, mean).tolist())
        features = torch.from_numpy(vectors).to(device)
        return cls(tuple(index.words[row] for row in kept), similarity, features, tuple(dropped))


def _mean(index: VocabularyIndex, base_text_features: Tensor) -> NDArray[np.float64]:
    shape = tuple(base_text_features.shape)
    if len(shape) != 2 or not shape[0] or shape[1] != index.store.dimension:
        raise InvalidInput(f"base text features have shape {shape}; expected (C, {index.store.dimension}), C at least 1")
    mean: NDArray[np.float64] = base_text_features.detach().double().mean(dim=0).cpu().numpy()
    if not np.isfinite(mean).all():
        raise InvalidInput("base text features hold NaN or infinity")
    return mean


def _ranked(store: VectorStore, mean: NDArray[np.float64], sign: int, head: int) -> Iterator[int]:
    """Rows by sign * similarity, highest first, equal ones by row; `head` at first, and more as far as they are asked for.

    A row whose float32 product is lower by ROUNDING than that of `head` others cannot be among the first `head`.
    """
    rough = sign * store.inner_products(mean.astype(np.float32)[None])[0]
    order = np.argsort(-rough)
    falling, done = -rough[order], 0
    while done < len(order):
        head = min(max(head, 1), len(order))
        reach = np.searchsorted(falling, falling[head - 1] + ROUNDING, side="right")
        rows = np.sort(order[:reach])
        exact = [_inner_products(store.vectors(rows[start : start + ROWS]), mean) for start in range(0, len(rows), ROWS)]
        best = np.argsort(-sign * np.concatenate(exact), kind="stable")[done:head]
        yield from rows[best].tolist()
        done, head = head, 4 * head


def _inner_products(vectors: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """In float64, (N,). Each row is summed by itself: equal vectors tie, which BLAS does not promise."""
    blocks = [(vectors[start : start + ROWS] * mean).sum(axis=1) for start in range(0, len(vectors), ROWS)]
    return np.concatenate(blocks)


class OutlierSampler:
    """Which outliers each step draws: B different ones, decided by the seed and the number of the step alone.

    So a run that goes on from a checkpoint draws what an uninterrupted one does. `draw` answers for any step; as an
    iterator the sampler counts its own steps, and `state_dict` keeps the count.

    Args:
        count: K, how many outliers there are.
        batch_size: B; all K are drawn where there are fewer.
        seed: of the draws.
        chances: how likely each is drawn, (K,), such as a pool's similarity; None draws uniformly.
        resample: a fresh draw each step ("dynamic"); False draws once.

    Raises:
        InvalidInput: no outlier, an empty draw, or chances of another shape or not finite.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, chances: Sequence[float] | Tensor | None = None, resample: bool = True
    ) -> None:
        if batch_size < 1 or count < 1:
            raise InvalidInput(f"a step needs at least one outlier; got {count} outliers and batch {batch_size}")
        given = torch.ones(count) if chances is None else torch.as_tensor(chances).float().cpu()
        if given.shape != (count,) or not given.isfinite().all():
            raise InvalidInput(f"chances must be {count} finite numbers; got shape {tuple(given.shape)}")
        self.count, self.batch_size = count, min(batch_size, count)
        self._chances, self._seed, self._resample, self._step = given.clamp(min=LEAST_CHANCE), seed, resample, 0

    def draw(self, step: int) -> Tensor:
        """Rows of the outliers of a step, (B,) int64, all different."""
        generator = stream(self._seed, "outliers", step if self._resample else 0)
        return torch.multinomial(self._chances, self.batch_size, replacement=False, generator=generator)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Tensor:
        rows = self.draw(self._step)
        self._step += 1
        return rows

    def state_dict(self) -> dict[str, int]:
        """What the next draw depends on, as plain numbers: the seed, and the step that comes next."""
        return {"seed": self._seed, "step": self._step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state.

        Raises:
            InvalidInput: not the seed and a step from 0, or another seed's state.
        """
        seed, step = state.get("seed"), state.get("step")
        if set(state) != {"seed", "step"} or type(step) is not int or step < 0:
            raise InvalidInput(f"a sampler's state is its seed and a step from 0; got {dict(state)!r}")
        if seed != self._seed:
            raise InvalidInput(f"the state is of a sampler with seed {seed!r}; this one has seed {self._seed}")
        self._step = step
