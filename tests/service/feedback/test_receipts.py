"""Receipts come back as they were, and nothing else comes back as a receipt."""

from __future__ import annotations

import hashlib
import hmac
import math
import random
import secrets
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from candor.calibration.confidence_curve import MULTIPLIERS
from candor.errors import InvalidInput
from service.errors import ApiError
from service.feedback.label_hashes import among, label_hashes
from service.feedback.receipt import KNOWN, Receipt
from service.feedback.receipt_bytes import HEAD, pack
from service.feedback.receipts import MAX_LENGTH, SALT, Receipts

OLD, NEW, FOREIGN = (bytes([n]) * 32 for n in (1, 2, 3))
DAY = 86400.0
LETTERS = string.ascii_letters + string.digits + "-_."
LABELS = [f"label number {i}" for i in range(20)]


class KeyRing:
    """Keys that a test changes, the oldest first."""

    def __init__(self, *keys: bytes) -> None:
        self.keys = keys

    def current(self) -> tuple[bytes, ...]:
        return self.keys


class Clock:
    """Tells the time that a test sets."""

    def __init__(self, now: float = 1.8e9) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def curve() -> tuple[float, ...]:
    return tuple(np.geomspace(3, 1e-6, len(MULTIPLIERS)).astype(np.float16).tolist())


def receipt(**more: Any) -> Receipt:
    fields: dict[str, Any] = {
        "id": "AAAAAAAAAAAAAAAAAAAAAA",
        "issued": 1.8e9,
        "artifact": "coop+dor-0ddd99cc07d2",
        "scope": "new",
        "label": LABELS[3],
        "confidence": 0.7312345504760742,
        "known": "true",
        "multiplier": 0.83,
        "gamma": 0.97,
        "curve": curve(),
        "labels": label_hashes(LABELS),
    }
    return Receipt(**fields | more)


def receipts(*keys: bytes, clock: Clock | None = None) -> Receipts:
    return Receipts(KeyRing(*keys or (NEW,)), 30 * DAY, clock or Clock())


def why(sent: str, reader: Receipts | None = None) -> str:
    """Why a text is refused; the answer to the caller is always the same."""
    with pytest.raises(ApiError) as caught:
        (reader or receipts()).read(sent)
    error = caught.value
    assert (error.status, error.field) == (422, "prediction_id")
    assert error.message == "not a prediction_id of this service, or an expired one"
    return str(error.why)  # type: ignore[attr-defined]


def not_negative(data: bytes) -> tuple[float, ...]:
    """Any finite numbers of float16 from 0 on."""
    return tuple((np.frombuffer(data, np.uint16) & 0x7BFF).view(np.float16).tolist())


texts = st.text(max_size=60)
positive = st.floats(1e-6, 1e6)
any_receipt = st.builds(
    Receipt,
    id=st.binary(min_size=16, max_size=16).map(lambda b: urlsafe_b64encode(b).decode().rstrip("=")),
    issued=st.floats(1.8e9 - 29 * DAY, 1.8e9 + 200),
    artifact=texts,
    scope=st.sampled_from(["base", "new"]),
    label=texts,
    confidence=st.floats(0, 1),
    known=st.sampled_from(KNOWN),
    multiplier=positive,
    gamma=st.none() | positive,
    curve=st.binary(min_size=2 * len(MULTIPLIERS), max_size=2 * len(MULTIPLIERS)).map(not_negative),
    labels=st.lists(texts, max_size=30).map(label_hashes),
)


@settings(max_examples=200)
@given(any_receipt)
def test_a_receipt_comes_back_as_it_was(given: Receipt) -> None:
    assert receipts().read(receipts().sign(given)) == given


def test_a_receipt_of_twenty_labels_is_short() -> None:
    assert len(receipts().sign(receipt())) < 400


def test_the_signature_is_hmac_sha256_of_what_is_sent() -> None:
    payload, signature = receipts().sign(receipt()).encode().rsplit(b".", 1)
    key = hmac.digest(NEW, SALT, hashlib.sha256)
    assert urlsafe_b64decode(signature + b"=") == hmac.digest(key, payload, hashlib.sha256)
    assert urlsafe_b64decode(payload + b"==") == pack(receipt())


@pytest.mark.parametrize("name", ["label number 3", "LABEL number 3", " label_number  3 ", "Label\tNUMBER_3"])
def test_the_predicted_label_is_correct_however_it_is_written(name: str) -> None:
    assert receipt().outcome(name) == "correct"


def test_another_label_of_the_request_is_wrong_and_one_of_no_request_is_outside() -> None:
    straße = receipt(label="Straße", labels=label_hashes(["Straße", "weg"]))
    assert (straße.outcome("STRASSE"), straße.outcome("Weg"), straße.outcome("platz")) == ("correct", "wrong", "outside")
    assert {receipt().outcome(label.upper().replace(" ", "__")) for label in LABELS} == {"correct", "wrong"}
    assert receipt().outcome("label number 20") == "outside"
    assert receipt().outcome("") == receipt().outcome("\ud800") == "outside"
    assert receipt(labels=b"").outcome("label number 4") == "outside"


def test_hashes_are_compared_where_they_begin() -> None:
    hashes = label_hashes(["x"])
    for shift in (1, 2):
        padded = b"\0" * shift + hashes + b"\0" * (3 - shift)
        assert not among("x", padded)
        assert among("x", padded + hashes)


def test_few_labels_are_taken_for_others_by_chance() -> None:
    """1000 labels: once in 17,000; within five standard deviations of that."""
    hashes = label_hashes(f"label {i}" for i in range(1000))
    assert len({hashes[i : i + 3] for i in range(0, 3000, 3)}) > 990
    tries = 40_000
    found = sum(among(f"other {i}", hashes) for i in range(tries))
    expected = tries * 1000 / 2**24
    assert found <= expected + 5 * math.sqrt(expected)


def test_a_receipt_expires() -> None:
    clock = Clock()
    reader = receipts(clock=clock)
    sent = reader.sign(receipt())
    for later in (30 * DAY, 0.0, -300.0):
        clock.now = 1.8e9 + later
        assert reader.read(sent) == receipt()
    for later in (30 * DAY + 1, -301.0, math.nan):
        clock.now = 1.8e9 + later
        assert why(sent, reader) == "expired"


def test_the_newest_key_signs_and_every_key_reads() -> None:
    ring = KeyRing(OLD)
    service = Receipts(ring, 30 * DAY, Clock())
    before = service.sign(receipt())
    ring.keys = (OLD, NEW)
    after = service.sign(receipt())
    assert before != after
    assert service.read(before) == service.read(after) == receipt()
    ring.keys = (NEW,)
    assert service.read(after) == receipt()
    assert why(before, service) == "invalid"


def test_what_is_signed_for_something_else_is_no_receipt() -> None:
    payload = urlsafe_b64encode(pack(receipt())).rstrip(b"=").decode()
    assert why(TimestampSigner(NEW).sign(payload).decode()) == "invalid"
    assert why(URLSafeTimedSerializer(NEW).dumps({"prediction_id": "x"})) == "invalid"
    for salt in (b"", b"itsdangerous.Signer", b"candor"):
        assert why(signed(payload, NEW, salt)) == "invalid"
    assert receipts().read(signed(payload, NEW)) == receipt()  # which the others were but for the salt


def signed(payload: str, key: bytes, salt: bytes = SALT) -> str:
    """As our own signature, by another hand."""
    signature = hmac.digest(hmac.digest(key, salt, hashlib.sha256), payload.encode(), hashlib.sha256)
    return f"{payload}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


def changed(at: int, *values: int) -> bytes:
    data = bytearray(pack(receipt()))
    data[at : at + len(values)] = values
    return bytes(data)


NOT_A_NUMBER = np.float64(math.nan).tobytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        pack(receipt())[: HEAD.size - 1],
        pack(receipt())[:-1],
        pack(receipt()) + b"x",
        changed(0, 2),  # a version to come
        changed(0, 0),
        changed(25, 3),  # no such word for known
        changed(25, 8),  # no such scope
        changed(26, *NOT_A_NUMBER),  # confidence
        changed(26, *np.float64(1.5).tobytes()),
        changed(34, *NOT_A_NUMBER),  # multiplier
        changed(34, *np.float64(0).tobytes()),
        changed(42, *np.float64(-1).tobytes()),  # gamma
        changed(50, 255, 255),  # an artifact longer than all
        changed(54, *np.float16(-1).tobytes()),  # the curve
        changed(54, *np.float16(math.inf).tobytes()),
        changed(HEAD.size, 0xFF),  # no UTF-8
    ],
)
def test_what_we_signed_ourselves_is_read_with_care(data: bytes) -> None:
    payload = urlsafe_b64encode(data).rstrip(b"=").decode()
    assert why(signed(payload, NEW)) == "invalid"


@pytest.mark.parametrize(
    "text", ["", ".", "a", "a.b", "é" * 50, "\x00", "a" * 43, "." + "a" * 43, "a b." + "a" * 43, "\ud800." + "a" * 43]
)
def test_what_does_not_look_like_a_receipt_is_refused(text: str) -> None:
    assert why(text) == "invalid"


def test_a_long_text_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Receipts, "_signer", lambda _: pytest.fail("worked"))
    assert why("a" * MAX_LENGTH + "." + "a" * 43) == "invalid"


def test_what_would_not_be_taken_back_is_not_signed() -> None:
    service = receipts()
    most = receipt(labels=bytes(3 * 16_000))
    assert service.read(service.sign(most)) == most
    with pytest.raises(InvalidInput, match="at most 65536"):
        service.sign(receipt(labels=bytes(3 * 17_000)))


@pytest.mark.parametrize("field", [{"id": "short"}, {"curve": (1.0,)}, {"label": "x" * 70_000}, {"id": "A" * 24}])
def test_what_is_no_receipt_is_not_signed(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no receipt"):
        receipts().sign(receipt(**field))


def test_one_character_more_less_or_other_is_refused() -> None:
    service = receipts()
    sent = service.sign(receipt())
    for at in range(len(sent)):
        assert why(sent[:at] + sent[at + 1 :], service) == "invalid"
    for at, letter in enumerate(sent):
        other = "B" if letter == "A" else "A"
        assert why(sent[:at] + other + sent[at + 1 :], service) == "invalid"
        assert why(sent[:at] + other + sent[at:], service) == "invalid"
    for last in LETTERS:  # two bits of the last character are not of the signature
        if last != sent[-1]:
            assert why(sent[:-1] + last, service) == "invalid"
    for more in ("=", "\n", " ", "%", "\x00"):
        assert why(sent + more, service) == "invalid"
        assert why(more + sent, service) == "invalid"


@given(
    st.text(max_size=500) | st.text(LETTERS, max_size=500) | st.from_regex(r"\A[A-Za-z0-9_-]{1,400}\.[A-Za-z0-9_-]{43}\Z")
)
def test_any_text_is_refused(text: str) -> None:
    assert why(text) == "invalid"


@settings(max_examples=150)
@given(st.data(), any_receipt, any_receipt)
def test_an_altered_receipt_is_refused(data: st.DataObject, first: Receipt, second: Receipt) -> None:
    """Parts of two receipts joined anywhere, and one receipt with any characters replaced."""
    service = receipts()
    one, two = service.sign(first), service.sign(second)
    cut, from_ = data.draw(st.integers(0, len(one))), data.draw(st.integers(0, len(two)))
    at = data.draw(st.integers(0, len(one) - 1))
    put = data.draw(st.text(LETTERS, max_size=6))
    for altered in (one[:cut] + two[from_:], one[:at] + put + one[at + len(put) :]):
        if altered not in (one, two):
            assert why(altered, service) == "invalid"


@pytest.mark.slow
def test_of_a_hundred_thousand_forged_receipts_none_is_taken() -> None:
    """Altered, cut, joined, signed by another key, expired, and made up; each refused, for the reason that is true."""
    rng = random.Random(0)
    clock = Clock()
    service, foreign = receipts(OLD, NEW, clock=clock), receipts(FOREIGN, clock=clock)
    good = [service.sign(receipt(id=secrets.token_urlsafe(16), confidence=rng.random())) for _ in range(500)]
    payloads, signatures = zip(*(text.rsplit(".", 1) for text in good), strict=True)

    def altered(i: int) -> str:
        text = list(good[i])
        for _ in range(rng.randint(1, 3)):
            text[rng.randrange(len(text))] = rng.choice(LETTERS)
        return "".join(text)

    def forged(kind: int, i: int) -> tuple[str, str]:
        j = (i + rng.randrange(1, len(good))) % len(good)
        if kind == 0:
            return altered(i), "invalid"
        if kind == 1:
            return good[i][: rng.randrange(len(good[i]))], "invalid"
        if kind == 2:
            return f"{payloads[i]}.{signatures[j]}", "invalid"
        if kind == 3:
            return foreign.sign(receipt(id=secrets.token_urlsafe(16))), "invalid"
        if kind == 4:
            late = replace(receipt(), issued=clock.now - 30 * DAY - rng.expovariate(1 / DAY) - 1)
            return service.sign(late), "expired"
        return f"{payloads[i]}.{secrets.token_urlsafe(32)}", "invalid"

    refused = 0
    for n in range(100_000):
        text, reason = forged(n % 6, n % len(good))
        if text in good:
            continue
        assert why(text, service) == reason
        refused += 1
    assert refused > 99_000
    assert all(service.read(text) for text in good)
