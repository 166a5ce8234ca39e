"""CoOp's learner: context vectors shared by all classes, or a set for each (Zhou et al. 2022, eq. 3 to 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from candor.clip.backbone import Backbone
from candor.clip.learners.base import LearnerConfig, PromptLearner
from candor.clip.prompt_tokens import TokenizedNames
from candor.clip.text_encoder import PromptEmbeddings, text_tower
from candor.errors import InvalidInput

CTX_STD = 0.02  # of a random start (CoOp)


class ContextLearner(PromptLearner):
    """Prompt = [start] ctx_1 ... ctx_M name "." [end], or with the name in the middle of the context or before it.

    Args:
        config: settings.
        ctx: starting context, (n_ctx, width), or (C, n_ctx, width) where class-specific.
        classnames: the classes that a class-specific context is for.
    """

    def __init__(self, config: LearnerConfig, ctx: Tensor, classnames: tuple[str, ...]) -> None:
        super().__init__()
        if ctx.ndim != (3 if config.class_specific else 2):
            raise InvalidInput(
                f"ctx has shape {tuple(ctx.shape)}, which does not fit class_specific={config.class_specific}"
            )
        self.config = config.model_copy(update={"n_ctx": ctx.shape[-2]})
        self.ctx = nn.Parameter(ctx.float().clone())
        self._rows = {name: row for row, name in enumerate(classnames)} if config.class_specific else None

    @classmethod
    def create(cls, config: LearnerConfig, backbone: Backbone, classnames: tuple[str, ...]) -> ContextLearner:
        """A learner whose context starts from words or from noise (drawn with torch's global generator)."""
        embedding = text_tower(backbone.model).token_embedding
        if config.ctx_init is None:
            shape = (len(classnames), config.n_ctx) if config.class_specific else (config.n_ctx,)
            ctx = torch.randn(*shape, embedding.weight.shape[1]) * CTX_STD
        else:
            words = embedding(torch.tensor(backbone.bpe(config.ctx_init), device=backbone.device)).float()
            ctx = words.expand(len(classnames), -1, -1) if config.class_specific else words
        return cls(config, ctx.to(backbone.device), classnames)

    def forward(self, names: TokenizedNames, image_features: Tensor | None = None) -> PromptEmbeddings:  # noqa: ARG002
        """Prompts of the names.

        Args:
            names: C tokenized names.
            image_features: not used; prompts do not depend on the image.

        Returns:
            Prompts whose prefix is the start token and the context before the name; the start token alone where each class
            has a context of its own.

        Raises:
            InvalidInput: a class-specific context is asked for a class it was not tuned on.
        """
        n_ctx = self.config.n_ctx
        before = {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[self.config.class_position]
        prefix, suffix = names.embeddings[0, :1].to(self.ctx.dtype), names.embeddings[:, 1:].to(self.ctx.dtype)
        ctx = self._ctx_of(names)
        if before < n_ctx:
            suffix = _insert(suffix, ctx[:, before:].expand(len(names), -1, -1), names.name_end - 1)
        if self.config.class_specific:
            suffix = torch.cat([ctx[:, :before], suffix], dim=1)
        else:
            prefix = torch.cat([prefix, ctx[0, :before]])
        return PromptEmbeddings(prefix, suffix, names.eot_index + n_ctx)

    def _ctx_of(self, names: TokenizedNames) -> Tensor:
        """The context of each name, (C, n_ctx, width); (1, n_ctx, width) where all share one."""
        if self._rows is None:
            return self.ctx[None]
        unknown = [name for name in names.names if name not in self._rows]
        if unknown:
            raise InvalidInput(f"a class-specific context knows only its base classes, not {', '.join(unknown[:10])}")
        return self.ctx[[self._rows[name] for name in names.names]]


def _insert(tokens: Tensor, ctx: Tensor, place: Tensor) -> Tensor:
    """Context vectors put into each row before its token number `place`, (C, T + M, width).

    Args:
        tokens: (C, T, width).
        ctx: (C, M, width).
        place: (C,).
    """
    count = ctx.shape[1]
    position = torch.arange(tokens.shape[1] + count, device=tokens.device).expand(len(tokens), -1)
    start = place[:, None]
    index = torch.where(position < start, count + position, position - start)  # of the bank: context first, then tokens
    index = torch.where(position >= start + count, position, index)
    bank = torch.cat([ctx, tokens], dim=1)
    return bank.gather(1, index[..., None].expand(-1, -1, bank.shape[-1]))
