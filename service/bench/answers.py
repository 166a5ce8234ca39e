"""Whether answers under load are those that the same requests get alone: a bench that measures errors is worthless."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from candor.errors import CandorError
from service.bench.load import Answer

TOLERANCE = 1e-4  # of a probability: batches of other sizes sum in another order


@dataclass(frozen=True)
class Expected:
    """What a request is answered alone.

    Attributes:
        confidence: of the predicted label.
        scores: a label to its probability, of all that the answer holds.
    """

    confidence: float
    scores: dict[str, float]

    def agrees(self, answer: Answer) -> bool:
        """Whether an answer names the same label, or one as probable, with the same confidence."""
        if answer.status != 200:
            return False
        result = json.loads(answer.content)["results"][0]
        probable = self.scores.get(result["label"], -1.0) >= self.confidence - TOLERANCE
        return probable and abs(result["confidence"] - self.confidence) <= TOLERANCE


def expected(answers: Sequence[Answer]) -> dict[int, Expected]:
    """What each body is answered, by its number.

    Raises:
        CandorError: the service refuses one.
    """
    found = {}
    for answer in answers:
        if answer.status != 200:
            raise CandorError(f"the service answers {answer.status}: {answer.content[:300].decode(errors='replace')}")
        result = json.loads(answer.content)["results"][0]
        scores = {score["label"]: score["score"] for score in result["scores"]}
        found[answer.body] = Expected(result["confidence"], scores)
    return found


def count_wrong(answers: Sequence[Answer], references: dict[int, Expected]) -> int:
    """Answers that are errors or differ from their reference."""
    return sum(not references[answer.body].agrees(answer) for answer in answers)
