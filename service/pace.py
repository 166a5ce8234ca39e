"""Python's own pauses, where an event loop, decoders and a model share one process."""

from __future__ import annotations

import gc
import sys

SWITCH_SECONDS = 0.0005  # after which a thread that runs Python lets another one run; 5 ms by default


def steady() -> None:
    """Make pauses short. Called once all is loaded.

    Each request crosses three threads, and each crossing may wait for the interpreter as long as the switch interval. The
    cyclic collector walks through all that was ever loaded, torch's modules included, which stops everything for a fifth of
    a second; what is there now stays, so it need not look again. Counted references still free it.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
