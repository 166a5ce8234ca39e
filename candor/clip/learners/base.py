"""What every prompt learner is: a function from class names to prompt embeddings, whose only state is its context."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from candor.clip.backbone import Backbone
from candor.clip.prompt_tokens import TokenizedNames
from candor.clip.text_encoder import PromptEmbeddings


class LearnerConfig(BaseModel):
    """How a learner builds prompts; stored in the artifact.

    Attributes:
        kind: name in LEARNERS.
        n_ctx: number of context vectors; follows from `ctx_init` where that is given.
        ctx_init: words whose embeddings the context starts from; None starts from N(0, 0.02^2).
        class_position: where the class name stands in the context.
        class_specific: a context for each base class instead of one for all; such prompts know no other class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "context"
    n_ctx: int = Field(16, ge=1)
    ctx_init: str | None = None
    class_position: Literal["end", "middle", "front"] = "end"
    class_specific: bool = False


class PromptLearner(nn.Module):
    """Base of all learners. The class names are an argument of forward, never state."""

    config: LearnerConfig
    depends_on_image: ClassVar[bool] = False  # whether `forward` looks at image features
    tunes_image_tower: ClassVar[bool] = False  # whether `encode_images` is not the backbone's own

    @classmethod
    @abstractmethod
    def create(cls, config: LearnerConfig, backbone: Backbone, classnames: tuple[str, ...]) -> PromptLearner:
        """A learner at its starting point.

        Args:
            config: settings.
            backbone: the CLIP whose prompts it learns.
            classnames: the base classes (used by class-specific contexts only).
        """

    @abstractmethod
    def forward(self, names: TokenizedNames, image_features: Tensor | None = None) -> PromptEmbeddings:
        """Prompts of C names.

        Args:
            names: any names, the base classes or others.
            image_features: (B, D), for learners whose prompts depend on the image; such a learner makes B * C prompts,
                those of the first image first, and C that depend on none where this is None.
        """

    def encode_images(self, backbone: Backbone, pixels: Tensor) -> Tensor:
        """Image features of preprocessed images (B, 3, H, W): (B, D) of L2 norm 1, here of the frozen tower."""
        return backbone.encode_image(pixels)
