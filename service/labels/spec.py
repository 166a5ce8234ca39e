"""A label set as it is kept, and the names that one may have."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from candor.clip.templates import check_names
from candor.errors import InvalidInput

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class LabelSetSpec(BaseModel):
    """A label set as it is kept.

    Attributes:
        labels: to choose from, no two that read the same.
        templates: of the caller's own, averaged; None for the tuned prompt.
        threshold: score from which on a label is accepted.
        thresholds: the same for single labels, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[str, ...] = Field(min_length=1)
    templates: tuple[str, ...] | None = Field(None, min_length=1)
    threshold: Share | None = None
    thresholds: dict[str, Share] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> LabelSetSpec:
        try:
            check_names(self.labels)
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        return self
