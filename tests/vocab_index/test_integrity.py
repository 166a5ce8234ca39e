"""An index directory notices every change to any of its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from candor.clip.backbone import Backbone
from candor.errors import IntegrityError
from vocab_index.index import VocabularyIndex
from vocab_index.manifest import MANIFEST, METADATA, NOTICE, VECTORS, WORDS, Manifest, Provenance, read_manifest
from vocab_index.sources.words import WordList
from vocab_index.store.kinds import Kind

WORDS_HERE = tuple(f"{size} {thing}" for size in ("small", "big") for thing in ("cat", "dog", "anchor", "umbrella", "sun"))
FLIPS = 1000


@pytest.fixture(scope="module")
def index(tiny_clip: Backbone) -> VocabularyIndex:
    rows = [{"category": "thing", "gloss": f"what is called {word}"} for word in WORDS_HERE]
    return VocabularyIndex.build(tiny_clip, WordList("wordnet", WORDS_HERE, {"blank": 2}, rows), "a {}.")


@pytest.fixture
def saved(index: VocabularyIndex, tmp_path: Path) -> Path:
    index.save(tmp_path / "index")
    return tmp_path / "index"


def _rewritten(saved: Path, **changes: object) -> None:
    """A manifest that was edited by somebody who knows how it is signed."""
    manifest = read_manifest(saved)
    (saved / MANIFEST).write_text(manifest.model_copy(update=changes).text())


def test_any_of_a_thousand_flipped_bits_is_refused(saved: Path) -> None:
    rng = np.random.default_rng(0)
    files = [MANIFEST, METADATA, NOTICE, VECTORS, WORDS]
    assert sorted(path.name for path in saved.iterdir()) == sorted(files)
    good = {name: (saved / name).read_bytes() for name in files}
    ends = np.cumsum([len(content) for content in good.values()])
    for place in rng.integers(0, 8 * ends[-1], FLIPS):
        number = int(np.searchsorted(ends, place // 8, side="right"))
        name, offset = files[number], int(place // 8 - (ends[number - 1] if number else 0))
        damaged = bytearray(good[name])
        damaged[offset] ^= 1 << int(place % 8)
        (saved / name).write_bytes(damaged)
        with pytest.raises(IntegrityError, match=f"{name}: expected .*, found ."):
            VocabularyIndex.load(saved)
        (saved / name).write_bytes(good[name])
    assert VocabularyIndex.load(saved).words == WORDS_HERE


def test_every_part_of_the_manifest_counts(saved: Path) -> None:
    good = (saved / MANIFEST).read_bytes()
    for place in range(0, 8 * len(good), 37):
        damaged = bytearray(good)
        damaged[place // 8] ^= 1 << place % 8
        (saved / MANIFEST).write_bytes(damaged)
        with pytest.raises(IntegrityError, match=r"manifest.json: expected"):
            read_manifest(saved)


@pytest.mark.parametrize("change", [lambda text: text + "\n", lambda text: text.replace("\n", "\r\n"), json.loads])
def test_another_layout_of_the_same_manifest_is_refused(saved: Path, change: object) -> None:
    text = (saved / MANIFEST).read_text()
    changed = change(text)  # type: ignore[operator]
    (saved / MANIFEST).write_bytes((changed if isinstance(changed, str) else json.dumps(changed)).encode())
    with pytest.raises(IntegrityError, match="of its content, found another layout"):
        VocabularyIndex.load(saved)


def test_a_damaged_file_is_named_with_both_digests(saved: Path) -> None:
    expected = read_manifest(saved).sha256[WORDS]
    (saved / WORDS).write_text("edited\n")
    with pytest.raises(IntegrityError, match=f"{WORDS}: expected sha256 {expected}, found [0-9a-f]{{64}}$"):
        VocabularyIndex.load(saved)


@pytest.mark.parametrize("name", [MANIFEST, METADATA, NOTICE, VECTORS, WORDS])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name}: expected a file, found nothing"):
        VocabularyIndex.load(saved)


@pytest.mark.parametrize("name", [MANIFEST, VECTORS])
def test_a_link_is_named(saved: Path, tmp_path: Path, name: str) -> None:
    (saved / name).rename(tmp_path / "elsewhere")
    (saved / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match=f"{name}: expected a file, found a link"):
        VocabularyIndex.load(saved)


def test_what_is_there_besides_is_named(saved: Path) -> None:
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(IntegrityError, match=r"notes.txt: expected only files that the manifest names"):
        VocabularyIndex.load(saved)


def test_an_index_of_schema_1_says_what_to_do(saved: Path) -> None:
    (saved / MANIFEST).write_text(json.dumps({"schema_version": 1, "template": "a {}."}))
    with pytest.raises(
        IntegrityError, match="expected schema version 2, found schema version 1, built by an older Candor; build it"
    ):
        VocabularyIndex.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"schema_version": 2}', "\ud800"])
def test_no_manifest_at_all(saved: Path, text: str) -> None:
    (saved / MANIFEST).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(IntegrityError, match=r"manifest.json: expected"):
        VocabularyIndex.load(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 3}, "expected 3 words, found 10 words, 10 vectors and 10 rows of metadata"),
        ({"templates": ("the {}.",)}, "expected vocabulary [0-9a-f]{64}"),
        ({"dimension": 5}, "expected dimension 5, found 64"),
        ({"kind": "fp16"}, "expected kind fp16, found flat"),
        ({"nprobe": 4}, "expected nprobe 4, found None"),
        ({"sha256": {"../secret": "0"}}, "manifest.json: expected an index manifest, found sha256"),
    ],
)
def test_a_manifest_that_lies_is_refused(saved: Path, changes: dict[str, object], message: str) -> None:
    _rewritten(saved, **changes)
    with pytest.raises(IntegrityError, match=message):
        VocabularyIndex.load(saved)


def test_another_backbone_is_refused(saved: Path, glyph_clip: Backbone) -> None:
    with pytest.raises(IntegrityError, match="expected an index of glyph-clip with weights"):
        VocabularyIndex.load(saved, glyph_clip)


def test_the_files_of_two_equal_builds_are_equal(saved: Path, index: VocabularyIndex, tmp_path: Path) -> None:
    VocabularyIndex.load(saved).save(tmp_path / "again")
    for path in saved.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_files_of_two_indexes_do_not_mix(saved: Path, tiny_clip: Backbone, tmp_path: Path) -> None:
    VocabularyIndex.build(tiny_clip, WordList("other", WORDS_HERE[::-1], {}), "a {}.").save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / WORDS, saved / WORDS)
    with pytest.raises(IntegrityError, match=f"{WORDS}: expected sha256"):
        VocabularyIndex.load(saved)


def test_what_the_manifest_keeps(saved: Path) -> None:
    manifest = read_manifest(saved)
    assert isinstance(manifest, Manifest)
    assert manifest.provenance == Provenance(precision="fp32", dropped={"blank": 2}, left_out={})
    assert (manifest.count, manifest.dimension, manifest.kind) == (10, 64, "flat")
    assert manifest.vocabulary == VocabularyIndex.load(saved).digest


@pytest.mark.parametrize("kind", ["flat", "fp16", "ivf"])
def test_every_kind_comes_back_with_its_reason(tiny_clip: Backbone, tmp_path: Path, kind: Kind) -> None:
    words = WordList("numbers", tuple(f"number {n}" for n in range(300)), {})
    built = VocabularyIndex.build(tiny_clip, words, "a {}.", kind=kind)
    built.save(tmp_path / "index")
    store = VocabularyIndex.load(tmp_path / "index").store
    assert (store.kind, store.nprobe) == (kind, built.store.nprobe)
    assert (store.reason, store.recall) == (built.store.reason, built.store.recall)
    VocabularyIndex.build(tiny_clip, words, "a {}.", kind=kind).save(tmp_path / "again")
    for path in (tmp_path / "index").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
