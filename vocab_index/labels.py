"""Labels as a vocabulary's words have them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from candor.clip.backbone import Backbone
from candor.clip.templates import fill


def label_features(backbone: Backbone, templates: Sequence[str], labels: Sequence[str]) -> Tensor:
    """Text features of labels under a vocabulary's templates: normalise(mean over templates of the normalised features).

    Args:
        backbone: the vocabulary's own.
        templates: of the vocabulary, at least one.
        labels: C labels.

    Returns:
        (C, D) float32 of L2 norm 1.

    Raises:
        InvalidInput: a label does not fit the text tower under a template.
    """
    features = [backbone.encode_text(fill(template, labels)) for template in templates]
    return features[0] if len(features) == 1 else F.normalize(torch.stack(features).mean(dim=0), dim=-1)
