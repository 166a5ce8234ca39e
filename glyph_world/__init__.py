"""The embedded default: a world of pictograms, drawn from a font, and a small CLIP that was trained on it."""

from __future__ import annotations

from pathlib import Path

MODEL_NAME = "glyph-clip"
MODEL_CONFIG = Path(__file__).with_name("glyph-clip.json")
MODEL_WEIGHTS = Path(__file__).with_name("glyph-clip.safetensors")
MODEL_TAG = "glyphs"
TEMPLATE = "a picture of a {}."  # what its captions used most


def default_template(model: str) -> str | None:
    """The prompt that a model's captions used most; None is the library's own default."""
    return TEMPLATE if model == MODEL_NAME else None


def register() -> None:
    """Make `glyph-clip` loadable by name, as any open_clip model."""
    from candor.clip.backbone import register_backbone

    register_backbone(MODEL_NAME, MODEL_TAG, MODEL_CONFIG, MODEL_WEIGHTS)
