"""Train glyph-clip from nothing: `python -m glyph_world.pretrain --out glyph_world/glyph-clip.safetensors`.

The objective is CLIP's (Radford et al. 2021, figure 3): symmetric cross-entropy over a batch of image-caption pairs. Its
optimum is s(image, text) = log p(text | image) / p(text), so a softmax over labels that the captions use equally often is
calibrated. Half of the batches are made of neighbours (one pictogram in many colours, or one family of pictograms), so
that this also holds, not only in the limit, between labels that are hard to tell apart.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.progress import Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor, nn

import glyph_world
from candor.clip.backbone import load_backbone
from candor.clip.text_encoder import encode_tokens
from glyph_world import MODEL_CONFIG, MODEL_NAME
from glyph_world.captions import caption
from glyph_world.colours import COLOURS
from glyph_world.pictograms import FAMILIES, PICTOGRAMS
from glyph_world.render import Scene, render
from glyph_world.styles import STYLES
from glyph_world.temperature import fit_logit_scale

log = logging.getLogger("glyph_world.pretrain")

DRAWING_SHARE = 0.3  # of the pictures are plain drawings; the other styles share the rest equally


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the weights."""

    images: int = 150_000
    epochs: int = 6
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    neighbour_share: float = 0.5  # of the batches are made of neighbours
    group_size: int = 64  # pictures of one pictogram or family in such a batch
    seed: int = 0


def draw_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes of all pictograms, colours and styles, drawn independently."""
    rng = np.random.default_rng([seed, 1])
    pictograms, colours, styles = list(PICTOGRAMS), list(COLOURS), list(STYLES)
    share = np.full(len(styles), (1 - DRAWING_SHARE) / (len(styles) - 1))
    share[styles.index("drawing")] = DRAWING_SHARE
    return [
        Scene(
            pictograms[rng.integers(len(pictograms))],
            colours[rng.integers(len(colours))],
            styles[rng.choice(len(styles), p=share)],
            int(rng.integers(2**62)),
        )
        for _ in range(count)
    ]


def _pixels(scenes: list[Scene]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(render(scene)) for scene in scenes])


def render_all(scenes: list[Scene], workers: int = 2) -> NDArray[np.uint8]:
    """Render scenes in processes, (N, H, W, 3)."""
    chunks = [scenes[i : i + 1000] for i in range(0, len(scenes), 1000)]
    with ProcessPoolExecutor(workers) as pool, Progress() as progress:
        return np.concatenate(list(progress.track(pool.map(_pixels, chunks), len(chunks), description="render")))


class BatchSampler:
    """Batches of scene indices: uniform ones, and ones made of groups of neighbours."""

    def __init__(self, scenes: list[Scene], config: PretrainConfig) -> None:
        self._config = config
        self._rng = np.random.default_rng([config.seed, 2])
        self._count = len(scenes)
        family_of = {name: family for family, names in FAMILIES.items() for name in names}
        pictograms, families = (
            np.array(v) for v in zip(*((s.pictogram, family_of[s.pictogram]) for s in scenes), strict=True)
        )
        self._groups = [np.flatnonzero(pictograms == name) for name in PICTOGRAMS]
        self._groups += [np.flatnonzero(families == name) for name, members in FAMILIES.items() for _ in members]

    def batch(self) -> NDArray[np.int64]:
        """Indices of one batch, (batch_size,)."""
        size, group = self._config.batch_size, self._config.group_size
        if self._rng.random() >= self._config.neighbour_share:
            return self._rng.integers(0, self._count, size)
        picks = self._rng.integers(0, len(self._groups), size // group)
        return np.concatenate([self._rng.choice(self._groups[p], group) for p in picks])


def contrastive_loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy of (B, D) normalised pairs, a scalar."""
    logits = logit_scale * image_features @ text_features.T
    labels = torch.arange(len(logits))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def _optimiser(model: nn.Module, config: PretrainConfig) -> torch.optim.Optimizer:
    matrices = [p for n, p in model.named_parameters() if p.ndim >= 2 and "embedding" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim < 2 or "embedding" in n]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), eps=1e-6)


def _learning_rate(step: int, total: int, config: PretrainConfig) -> float:
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    return (
        0.5 * config.learning_rate * (1 + math.cos(math.pi * (step - config.warmup_steps) / (total - config.warmup_steps)))
    )


def train(scenes: list[Scene], pixels: NDArray[np.uint8], config: PretrainConfig) -> nn.Module:
    """Train a fresh glyph-clip on rendered scenes; captions are drawn anew each time a picture is shown."""
    torch.manual_seed(config.seed)
    open_clip.add_model_config(MODEL_CONFIG)
    model = open_clip.create_model(MODEL_NAME)
    model.visual.to(memory_format=torch.channels_last)
    tokenizer = open_clip.get_tokenizer(MODEL_NAME)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (model.visual.image_mean, model.visual.image_std))
    optimiser, sampler = _optimiser(model, config), BatchSampler(scenes, config)
    rng = np.random.default_rng([config.seed, 3])
    total = config.images * config.epochs // config.batch_size
    columns = (*Progress.get_default_columns()[:3], TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns) as progress:
        task = progress.add_task("train", total=total, note="")
        for step in range(total):
            for group in optimiser.param_groups:
                group["lr"] = _learning_rate(step, total, config)
            picks = sampler.batch()
            images = torch.from_numpy(pixels[picks]).permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
            tokens = tokenizer([caption(scenes[i], rng) for i in picks])
            with torch.autocast("cpu", torch.bfloat16):
                image_features = model.encode_image(images.contiguous(memory_format=torch.channels_last))
            loss = contrastive_loss(
                F.normalize(image_features.float(), dim=-1), encode_tokens(model, tokens), model.logit_scale.exp()
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            note = f"loss {loss.item():.3f} scale {model.logit_scale.exp().item():.1f}"
            progress.update(task, advance=1, note=note)
            if step % 100 == 99:
                log.info("step %d/%d %s", step + 1, total, note)
    return model.eval()


def save_weights(model: nn.Module, path: Path, config: PretrainConfig) -> None:
    """Write half-precision weights; the token embedding, two thirds of them, in eight bits (3 % of its norm is lost)."""
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    weights["token_embedding.weight"] = model.token_embedding.weight.detach().to(torch.float8_e4m3fn)
    save_file(weights, path, metadata={"config": json.dumps(vars(config))})


def main() -> None:
    """Render, train, fit the temperature, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where to write the .safetensors file")
    for name in ("images", "epochs", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(PretrainConfig, name), help="default: %(default)s")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = PretrainConfig(images=arguments.images, epochs=arguments.epochs, seed=arguments.seed)
    started = time.monotonic()
    scenes = draw_scenes(config.images, config.seed)
    model = train(scenes, render_all(scenes), config)
    save_weights(model, arguments.out, config)
    glyph_world.register()
    scale = fit_logit_scale(load_backbone(MODEL_NAME, str(arguments.out)), config.seed)
    log.info("logit scale: %.1f after training, %.1f fitted", model.logit_scale.exp().item(), math.exp(scale))
    model.logit_scale.data.fill_(scale)
    save_weights(model, arguments.out, config)
    log.info("wrote %s after %.1f minutes", arguments.out, (time.monotonic() - started) / 60)


if __name__ == "__main__":
    main()
