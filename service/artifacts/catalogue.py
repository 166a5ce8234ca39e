"""What can be served: read anew each time, and only as far as an artifact tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from candor.clip.artifact import CONFIG, PROMPT, ArtifactConfig, load_config
from candor.errors import IntegrityError, InvalidInput
from service.artifacts.bento_store import kept_artifacts
from service.classifier import ZERO_SHOT_TAG
from service.settings import Settings

Source = Literal["directory", "store", "zero-shot"]


@dataclass(frozen=True)
class Entry:
    """Something that can be served.

    Attributes:
        name: of its folder, or its tag in the store.
        source: where it is.
        path: its directory; None for zero-shot.
        config: what it says about itself; None for zero-shot and where it is damaged.
        problem: why it cannot be served; None where nothing is known to be wrong. Digests are checked only on loading.
    """

    name: str
    source: Source
    path: Path | None = None
    config: ArtifactConfig | None = None
    problem: str | None = None

    @property
    def tag(self) -> str | None:
        """As answers name it; None for a damaged one."""
        return self.config.tag if self.config else ZERO_SHOT_TAG if self.source == "zero-shot" else None


ZERO_SHOT = Entry(ZERO_SHOT_TAG, "zero-shot")


def catalogue(settings: Settings) -> list[Entry]:
    """All that can be served: of the directory, the artifact that the service began with, of the store, and zero-shot."""
    folders = _folders(settings.artifacts) if settings.artifacts else []
    if settings.artifact and (first := Path(settings.artifact)).is_dir():
        folders += [first] if first.resolve() not in [folder.resolve() for folder in folders] else []
    entries = [_entry(folder.name, "directory", folder) for folder in folders]
    return [*entries, *(_entry(tag, "store", path) for tag, path in kept_artifacts()), ZERO_SHOT]


def find(settings: Settings, wanted: str) -> Entry:
    """An entry by its tag, or else by its name. Entries of one tag answer alike, so any of them will do.

    Raises:
        InvalidInput: there is none; the message names those that are.
    """
    entries = catalogue(settings)
    matching = [e for e in entries if e.tag == wanted] or [e for e in entries if e.name == wanted]
    if not matching:
        valid = ", ".join(sorted({e.tag for e in entries if e.tag}))
        raise InvalidInput(f"no artifact {wanted[:100]!r}; valid: {valid}")
    return matching[0]


def first_artifact(settings: Settings) -> Path | None:
    """The directory of the artifact to begin with, named by path or tag; None is zero-shot.

    Raises:
        InvalidInput: nothing is called so.
    """
    if not settings.artifact:
        return None
    path = Path(settings.artifact)
    return path if path.exists() or path.is_absolute() else find(settings, settings.artifact).path


def without_folders(text: str, *paths: Path | None) -> str:
    """A message about directories as a caller may read it: by their own names, not where the server keeps them."""
    for path in filter(None, paths):
        text = text.replace(f"{path.parent}/", "")
    return text


def _folders(root: Path) -> list[Path]:
    try:
        found = [p for p in root.iterdir() if not p.name.startswith(".") and p.is_dir()]
    except OSError:
        return []
    return sorted(p for p in found if any((p / name).exists() for name in (CONFIG, PROMPT)))


def _entry(name: str, source: Source, path: Path) -> Entry:
    try:
        return Entry(name, source, path, load_config(path))
    except IntegrityError as error:
        return Entry(name, source, path, problem=without_folders(str(error), path))
