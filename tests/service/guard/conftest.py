from __future__ import annotations

from pathlib import Path

import pytest

from service.guard.keys import KeySet, NamedKey, digest, write_keys
from service.refusals import refusals

KEYS = {"phone": ("api", "candor_phone"), "boss": ("admin", "candor_boss"), "scraper": ("metrics", "candor_scraper")}


def key_set(*names: str) -> KeySet:
    chosen = {name: KEYS[name] for name in names}
    return KeySet(keys=tuple(NamedKey(name=n, role=r, sha256=digest(k.encode())) for n, (r, k) in chosen.items()))


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(write_keys(key_set(*KEYS)))
    path.chmod(0o600)
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codes of refusals that were counted."""
    codes: list[str] = []
    monkeypatch.setattr(refusals, "count", codes.append)
    return codes
