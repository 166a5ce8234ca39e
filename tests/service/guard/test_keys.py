from __future__ import annotations

import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.errors import InvalidInput
from service.guard.access import ROLES
from service.guard.keys import KeySet, NamedKey, digest, new_key, read_keys, recognise, write_keys

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=64)
NAMED = st.builds(NamedKey, name=NAMES, role=st.sampled_from(ROLES), sha256=st.binary(max_size=8).map(digest))
SETS = st.lists(NAMED, max_size=5, unique_by=(lambda key: key.name, lambda key: key.sha256)).map(
    lambda keys: KeySet(keys=tuple(keys))
)


@given(SETS)
def test_what_is_written_is_read(keys: KeySet) -> None:
    assert read_keys(write_keys(keys)) == keys


@given(SETS, st.data())
def test_a_damaged_file_is_one_sentence_or_still_sound(keys: KeySet, data: st.DataObject) -> None:
    text = write_keys(keys)
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    said = ""
    try:
        assert len(read_keys(damaged).keys) == len(keys.keys)
    except InvalidInput as error:
        said = str(error)
    assert "\n" not in said
    assert all(key.sha256 not in said for key in keys.keys)


@given(st.text(max_size=200))
def test_any_text_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a file of keys"):
        read_keys(text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"role": "root"}, "'api', 'admin' or 'metrics'"),
        ({"name": "a\n"}, "pattern"),
        ({"name": ""}, "pattern"),
        ({"sha256": "A" * 64}, "pattern"),
        ({"key": "secret"}, "Extra inputs"),
    ],
)
def test_a_key_of_another_kind_is_refused(change: dict[str, str], reason: str) -> None:
    key = {"name": "a", "role": "api", "sha256": "0" * 64, **change}
    with pytest.raises(InvalidInput, match=reason):
        read_keys(json.dumps({"format": 1, "keys": [key]}))


@pytest.mark.parametrize(("name", "sha256"), [("a", "1" * 64), ("b", "0" * 64)])
def test_a_name_or_a_key_stands_there_once(name: str, sha256: str) -> None:
    keys = [{"name": "a", "role": "api", "sha256": "0" * 64}, {"name": name, "role": "admin", "sha256": sha256}]
    with pytest.raises(InvalidInput, match="twice"):
        read_keys(json.dumps({"keys": keys}))


def test_a_key_holds_256_bits_and_its_digest_is_sha256() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    secret = next(iter(keys)).removeprefix("candor_")
    assert len(secret) * math.log2(64) >= 256
    assert digest(b"abc") == hashlib.sha256(b"abc").hexdigest()


@given(st.lists(st.binary(max_size=20), max_size=4), st.integers(0, 3))
def test_only_the_whole_key_is_recognised(presented: list[bytes], which: int) -> None:
    secrets = [b"candor_%d" % i for i in range(4)]
    keys = [NamedKey(name=f"k{i}", role="api", sha256=digest(secret)) for i, secret in enumerate(secrets)]
    known = set(secrets) & set(presented)
    assert (recognise(keys, presented) is not None) == bool(known)
    found = recognise(keys, [*presented, secrets[which]])
    assert found == keys[which]
    assert recognise(keys, [secrets[which][:-1], secrets[which] + b" ", digest(secrets[which]).encode()]) is None


def test_an_endless_key_is_not_even_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    long = b"x" * 201
    assert recognise([NamedKey(name="a", role="api", sha256=digest(long))], [long]) is None
    short = b"x" * 200
    assert recognise([NamedKey(name="a", role="api", sha256=digest(short))], [short]) is not None
