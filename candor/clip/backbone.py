"""A frozen open_clip model with its tokenizer and preprocessing, loaded strictly and identified by a digest."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch import Tensor

from candor.clip.text_encoder import encode_tokens, eot_positions, prefix_of_tokens, shared_length, text_tower
from candor.clip.word_cache import WordCache
from candor.errors import CandorError, IntegrityError, InvalidInput

RANDOM_WEIGHTS = "random"
PRECISIONS = ("fp32", "bf16", "fp16")

Progress = Callable[[Iterable[Any], str], Iterable[Any]]
_registered: dict[str, tuple[str, Path]] = {}


def no_progress(steps: Iterable[Any], description: str) -> Iterable[Any]:  # noqa: ARG001
    """The default of every `progress` argument: show nothing."""
    return steps


@dataclass(frozen=True)
class Backbone:
    """A frozen CLIP.

    Attributes:
        name: open_clip model name.
        pretrained: tag or path of the weights.
        digest: sha256 of the weights, independent of where they were loaded from.
        model: the open_clip model, in eval mode, without gradients.
        tokenizer: CLIP's byte-pair tokenizer.
        preprocess: PIL image -> (3, H, W) float tensor.
        device: where the model lives.
    """

    name: str
    pretrained: str
    digest: str
    model: Any
    tokenizer: SimpleTokenizer
    preprocess: Callable[[Image.Image], Tensor]
    device: torch.device

    @property
    def context_length(self) -> int:
        """The longest text in tokens, start and end of text included."""
        return int(text_tower(self.model).context_length)

    @property
    def embed_dim(self) -> int:
        """Width of image and text features."""
        projection = text_tower(self.model).text_projection
        return int(projection.out_features if isinstance(projection, torch.nn.Linear) else projection.shape[1])

    @property
    def logit_scale(self) -> float:
        """exp(logit_scale): the factor from cosine to logit."""
        return float(self.model.logit_scale.exp())

    def bpe(self, text: str) -> list[int]:
        """Token ids of a text without start and end of text.

        Raises:
            InvalidInput: the text has no token, or holds a control token of the tokenizer.
        """
        ids: list[int] = self.tokenizer.encode(text)
        if not ids:
            raise InvalidInput(f"{text!r} holds no character that the tokenizer knows")
        if set(ids) & set(self.tokenizer.all_special_ids):
            raise InvalidInput(f"{text!r} holds a control token of the tokenizer")
        return ids

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids of texts, (N, context_length) int64.

        Raises:
            InvalidInput: a text does not fit the context; all that do not are named. Nothing is cut silently.
        """
        bodies = [self.bpe(text) for text in texts]
        check_length([(t, len(b)) for t, b in zip(texts, bodies, strict=True)], self.context_length - 2)
        tokens = self.frame(bodies)
        return F.pad(tokens, (0, self.context_length - tokens.shape[1]))

    def frame(self, bodies: Sequence[Sequence[int]]) -> Tensor:
        """Token ids between start and end of text, (N, longest + 2) int64; rows are padded with 0."""
        tokens = torch.zeros(len(bodies), max(map(len, bodies), default=0) + 2, dtype=torch.int64)
        for row, body in zip(tokens, bodies, strict=True):
            row[: len(body) + 2] = torch.tensor([self.tokenizer.sot_token_id, *body, self.tokenizer.eot_token_id])
        return tokens.to(self.device)

    def encode_text(self, texts: Sequence[str], batch_size: int = 256, progress: Progress = no_progress) -> Tensor:
        """Text features of whole texts, (N, embed_dim) float32 of L2 norm 1."""
        if not texts:
            return torch.empty(0, self.embed_dim, device=self.device)
        return self.encode_tokens(self.tokenize(texts), batch_size, progress)

    @torch.no_grad()
    def encode_tokens(self, tokens: Tensor, batch_size: int = 256, progress: Progress = no_progress) -> Tensor:
        """Text features of token ids (N, L), N >= 1 and L <= context_length: (N, embed_dim) float32 of L2 norm 1.

        Texts are encoded in order of length, so that each batch runs only as far as its own texts go; what all of them
        begin with runs once for all batches.
        """
        shared = shared_length(self.model, tokens)
        prefix = prefix_of_tokens(self.model, tokens[0, :shared])
        order = eot_positions(self.model, tokens).argsort(stable=True)
        chunks = progress(torch.split(order, batch_size), "encode text")
        encoded = torch.cat([encode_tokens(self.model, tokens[chunk], shared, prefix) for chunk in chunks])
        features = torch.empty_like(encoded)
        features[order] = encoded
        return features

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """Image features of preprocessed images.

        Args:
            images: (B, 3, H, W).

        Returns:
            image_features, (B, embed_dim) float32 of L2 norm 1.
        """
        dtype = next(self.model.visual.parameters()).dtype
        return F.normalize(self.model.encode_image(images.to(self.device, dtype)).float(), dim=-1)

    def encode_images(
        self, images: Iterator[Image.Image] | Sequence[Image.Image], batch_size: int = 256, progress: Progress = no_progress
    ) -> Tensor:
        """Image features of PIL images, (N, embed_dim) float32; at most a batch of pictures is held in memory."""
        features, batch = [torch.empty(0, self.embed_dim, device=self.device)], []
        for image in progress(images, "encode images"):
            batch.append(self.preprocess(image))
            if len(batch) == batch_size:
                features.append(self.encode_image(torch.stack(batch)))
                batch = []
        if batch:
            features.append(self.encode_image(torch.stack(batch)))
        return torch.cat(features)


def check_length(lengths: Sequence[tuple[str, int]], room: int) -> None:
    """Refuse names that need more tokens than there is room for.

    Args:
        lengths: (name, tokens it needs).
        room: tokens there are.

    Raises:
        InvalidInput: naming every name that does not fit (the first ten, and how many more).
    """
    long = [f"{name[:80]!r} ({length} tokens)" for name, length in lengths if length > room]
    if long:
        more = f" and {len(long) - 10} more" if len(long) > 10 else ""
        raise InvalidInput(f"too long for the text tower, which has room for {room} tokens: {', '.join(long[:10])}{more}")


def register_backbone(name: str, tag: str, config: Path, weights: Path) -> None:
    """Make a model that is kept in files loadable by name, beside open_clip's own.

    Args:
        name: model name; the stem of the config file.
        tag: what `pretrained` calls its weights.
        config: open_clip model config (JSON).
        weights: safetensors file.
    """
    if name not in open_clip.list_models():
        open_clip.add_model_config(config)
    _registered[name] = (tag, weights)


def weights_digest(model: torch.nn.Module) -> str:
    """sha256 over names, types and bytes of all weights and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _weights_source(model: str, pretrained: str | None) -> tuple[str, str | None]:
    """(how the artifact calls the weights, what open_clip takes for them), or an error that lists the valid ones."""
    if model not in open_clip.list_models():
        near = difflib.get_close_matches(model, open_clip.list_models(), 3, 0.4) or open_clip.list_models()[:3]
        raise InvalidInput(f"unknown model {model!r}; did you mean {', '.join(near)}? All: open_clip.list_models()")
    if pretrained == RANDOM_WEIGHTS:
        return RANDOM_WEIGHTS, None
    tags = [_registered[model][0]] if model in _registered else open_clip.list_pretrained_tags_by_model(model)
    if model in _registered and pretrained in (None, tags[0]):
        weights = _registered[model][1]
        if not weights.is_file():
            raise IntegrityError(weights, f"the weights of {model}", "nothing")
        return tags[0], str(weights)
    if pretrained is not None and Path(pretrained).is_file():
        if Path(pretrained).suffix != ".safetensors":
            raise InvalidInput(f"{pretrained}: weights must be a .safetensors file; no pickle is ever loaded")
        return pretrained, pretrained
    if pretrained is None or pretrained not in tags:
        raise InvalidInput(
            f"unknown weights {pretrained!r} for {model}; valid: {', '.join(tags) or 'no tag'}, "
            f"a .safetensors file, or {RANDOM_WEIGHTS!r}"
        )
    _refuse_wrong_activation(model, pretrained)
    return pretrained, pretrained


def _refuse_wrong_activation(model: str, tag: str) -> None:
    trained_with = bool(open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False))
    runs_with = bool((open_clip.get_model_config(model) or {}).get("quick_gelu", False))
    if trained_with and not runs_with:
        raise InvalidInput(
            f"{tag!r} weights were trained with QuickGELU, and {model} runs exact GELU: it would load without an error "
            f"and lose about 4 points of accuracy; use {model}-quickgelu"
        )


def load_backbone(
    model: str, pretrained: str | None = None, device: str | torch.device = "cpu", precision: str = "fp32"
) -> Backbone:
    """Load a frozen CLIP.

    Args:
        model: an open_clip model name, or a registered one such as "glyph-clip".
        pretrained: a tag of that model, a .safetensors file, or "random" (for benchmarks); a registered model needs none.
        device: "cpu", "cuda", "cuda:1", ...
        precision: "fp32", "bf16" or "fp16" weights; features and logits are float32 in any case.

    Returns:
        The backbone, in eval mode, no gradients.

    Raises:
        InvalidInput: unknown model, weights, device or precision; OpenAI weights on a model without QuickGELU; a text
            tower that prompts cannot be tuned for.
        IntegrityError: the weights' file does not fit the model.
    """
    if precision not in PRECISIONS:
        raise InvalidInput(f"unknown precision {precision!r}; valid: {', '.join(PRECISIONS)}")
    label, source = _weights_source(model, pretrained)
    target = _device(device)
    net, preprocess = _create(model, source)
    text_tower(net)
    tokenizer = open_clip.get_tokenizer(model)
    if not isinstance(tokenizer, SimpleTokenizer):
        raise InvalidInput(f"{model} uses {type(tokenizer).__name__}; prompts need CLIP's own tokenizer")
    tokenizer.cache = WordCache(tokenizer.cache)
    digest = weights_digest(net)
    net = net.to(device=target, dtype={"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision])
    net.eval().requires_grad_(False)
    return Backbone(model, label, digest, net, tokenizer, preprocess, target)


def _device(device: str | torch.device) -> torch.device:
    unknown = InvalidInput(f"unknown device {str(device)!r}; use 'cpu', 'cuda' or 'cuda:N'")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise unknown from error
    if target.type not in ("cpu", "cuda"):  # torch knows more; we test on no others
        raise unknown
    if target.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInput(f"device {str(device)!r} asked for, but torch sees no CUDA device; use 'cpu'")
    return target


def _create(model: str, source: str | None) -> tuple[Any, Callable[[Image.Image], Tensor]]:
    """The open_clip model and its test transform; open_clip's own messages about loading are not for our users."""
    noise = logging.getLogger()
    level = noise.level
    noise.setLevel(logging.ERROR)
    try:
        net, _, preprocess = open_clip.create_model_and_transforms(model, pretrained=source)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        if source is not None and Path(source).is_file():
            found = str(error).splitlines()[0]
            raise IntegrityError(source, f"weights of {model}", found) from error
        raise CandorError(f"open_clip could not load {model} with {source!r}: {error}") from error
    except Exception as error:
        # safetensors and huggingface_hub raise bases of their own; a damaged file must not become a traceback
        raise CandorError(f"could not load weights {source!r} of {model}: {error}") from error
    finally:
        noise.setLevel(level)
    return net, preprocess
