"""Named colours: words of the xkcd colour survey (public domain), with the RGB that its voters meant by them.

They are neighbours on purpose: telling "crimson" from "scarlet" under noise is what makes a label set fine-grained.
"""

from __future__ import annotations

from matplotlib.colors import XKCD_COLORS, to_rgb

_NAMES = """
red crimson scarlet maroon burgundy brick rust terracotta salmon coral peach pink rose magenta fuchsia purple violet
lavender lilac plum mauve indigo navy blue cobalt azure turquoise teal cyan aqua mint seafoam emerald green olive lime
chartreuse moss khaki mustard gold yellow lemon cream beige tan ochre amber orange pumpkin brown chocolate sienna black
charcoal grey silver white
""".split()  # noqa: SIM905
_PAIRS = ["hot pink", "royal blue", "sky blue", "forest green"]

COLOURS: dict[str, tuple[float, float, float]] = {
    name: to_rgb(XKCD_COLORS[f"xkcd:{name}"]) for name in sorted(_NAMES + _PAIRS)
}
