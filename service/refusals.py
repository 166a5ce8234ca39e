"""How many requests were refused and why, also while the service is loading and nothing counts yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from service.errors import CODES


class Refusals:
    """Counts refusals by code; hands them on once somebody exports them. For one event loop.

    Only codes of `service.errors.CODES` are counted: nothing a caller sends becomes a series.
    """

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._export: Callable[[str, int], None] | None = None

    def count(self, code: str) -> None:
        """Count one refused request.

        Args:
            code: of the error envelope.
        """
        if code not in CODES.values():
            return
        if self._export is None:
            self._held[code] += 1
        else:
            self._export(code, 1)

    def export(self, to: Callable[[str, int], None]) -> None:
        """Hand on what was counted so far, and from now on each refusal at once.

        Args:
            to: takes a code and how many.
        """
        self._export = to
        for code, number in self._held.items():
            to(code, number)
        self._held.clear()


refusals = (
    Refusals()
)  # of this process, as prometheus_client's registry is; middleware counts here before an engine is there
