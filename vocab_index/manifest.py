"""What an index directory says of itself, so that any change to any of its files is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from candor.clip.artifact import BackboneRef
from candor.errors import IntegrityError
from candor.files import file_digest

MANIFEST, VECTORS, WORDS, METADATA, NOTICE = (
    "manifest.json",
    "index.faiss",
    "words.txt",
    "metadata.jsonl",
    "LICENSE.wordnet",
)
SCHEMA_VERSION: Literal[2] = 2


class Provenance(BaseModel):
    """How the features were made, and which words are not among them.

    Attributes:
        precision: of the backbone's weights when it encoded the words.
        dropped: why entries were left out -> how many.
        left_out: the first few words for each reason that the text tower gave.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: str = "fp32"
    dropped: dict[str, int] = {}
    left_out: dict[str, tuple[str, ...]] = {}


class Manifest(BaseModel):
    """`manifest.json`: canonical JSON of these fields, and the sha256 of that as its own `digest`.

    Attributes:
        backbone: which model encoded the words.
        templates: prompts; features are the normalised mean of the features under each.
        source: name of the word list.
        vocabulary: `VocabularyIndex.digest`.
        count: words.
        dimension: D.
        kind: how vectors are stored and searched.
        reason: why so.
        nprobe: how many inverted lists a search looks into; None for kinds without.
        recall: share of the ten nearest that such a search finds, measured at the build.
        sha256: of each other file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[2] = SCHEMA_VERSION
    backbone: BackboneRef
    templates: tuple[str, ...]
    source: str
    vocabulary: str
    count: int
    dimension: int
    metric: str = "inner product of unit vectors"
    kind: str
    reason: str
    nprobe: int | None = None
    recall: float | None = None
    provenance: Provenance
    faiss_version: str
    sha256: dict[str, str]

    @field_validator("sha256")
    @classmethod
    def _known_files(cls, digests: dict[str, str]) -> dict[str, str]:
        known = {VECTORS, WORDS, METADATA, NOTICE}
        if not {VECTORS, WORDS} <= set(digests) <= known:
            raise ValueError(
                f"sha256 names {sorted(digests)}; valid: {VECTORS} and {WORDS}, perhaps {METADATA} and {NOTICE}"
            )
        return digests

    def text(self) -> str:
        """The file's only valid content."""
        return _signed(self.model_dump(mode="json"))


def read_manifest(directory: Path) -> Manifest:
    """Read and check `manifest.json`.

    Args:
        directory: of the index.

    Raises:
        IntegrityError: it is missing, changed in any bit, or of another version of Candor.
    """
    path = directory / MANIFEST
    _check_regular(path)
    try:
        text = path.read_bytes().decode("utf-8")  # read_text would see no difference between line ends
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError(f"a JSON {type(fields).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(path, "an index manifest", str(error).splitlines()[0]) from error
    version = fields.get("schema_version")
    if version != SCHEMA_VERSION:
        age = "an older" if version == 1 else "another"
        found = f"schema version {str(version)[:20]}, built by {age} Candor; build it again (candor vocab build)"
        raise IntegrityError(path, f"schema version {SCHEMA_VERSION}", found)
    found = str(fields.pop("digest", "none"))[:80]
    if text != _signed(fields):
        content = _digest(fields)
        raise IntegrityError(path, f"digest {content} of its content", found if found != content else "another layout")
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        raise IntegrityError(path, "an index manifest", "; ".join(str(error).splitlines()[1:3])) from error


def check_files(directory: Path, manifest: Manifest) -> None:
    """See that a directory holds the manifest's files, unchanged, and nothing else.

    Raises:
        IntegrityError: naming the file that is missing, damaged, a link, or not the manifest's.
    """
    names = {MANIFEST, *manifest.sha256}
    for name in sorted(names):
        _check_regular(directory / name)
    for path in sorted(directory.iterdir()):
        if path.name not in names:
            raise IntegrityError(path, "only files that the manifest names", "this one besides")
    with ThreadPoolExecutor() as pool:  # hashlib lets go of the interpreter's lock
        digests = dict(
            zip(manifest.sha256, pool.map(lambda name: _file_digest(directory / name), manifest.sha256), strict=True)
        )
    for name, expected in manifest.sha256.items():
        if digests[name] != expected:
            raise IntegrityError(directory / name, f"sha256 {expected}", digests[name])


def file_digests(directory: Path) -> dict[str, str]:
    """sha256 of every file of a directory, by name."""
    return {path.name: file_digest(path) for path in sorted(directory.iterdir())}


def _check_regular(path: Path) -> None:
    if path.is_symlink():
        raise IntegrityError(path, "a file", "a link")
    if not path.is_file():
        raise IntegrityError(path, "a file", "something else" if path.exists() else "nothing")


def _file_digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise IntegrityError(path, "a file that can be read", error.strerror) from error


def _canonical(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, indent=2, sort_keys=True) + "\n"


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(fields).encode()).hexdigest()


def _signed(fields: Mapping[str, Any]) -> str:
    return _canonical({**fields, "digest": _digest(fields)})
