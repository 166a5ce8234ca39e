from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from service.pace import SWITCH_SECONDS, steady


@pytest.fixture
def restored() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)
    gc.unfreeze()


class Loaded:
    pass


@pytest.mark.usefixtures("restored")
def test_what_is_there_is_not_walked_again_and_still_freed_by_its_last_reference() -> None:
    loaded = Loaded()
    reference = weakref.ref(loaded)
    steady()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    assert not any(thing is loaded for thing in gc.get_objects())  # what the collector walks through
    del loaded
    assert reference() is None
