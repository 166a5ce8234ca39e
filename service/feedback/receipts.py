"""Receipts: what an answer gives its caller to send back with the true label.

A receipt is signed and not stored, so that an answer writes nothing to any database, and every replica that has the keys
can take the feedback. It is not encrypted: whoever holds it can read it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

from itsdangerous import BadSignature, Signer
from itsdangerous.encoding import base64_decode, base64_encode

from candor.errors import InvalidInput
from service.errors import ApiError
from service.feedback.receipt import Receipt
from service.feedback.receipt_bytes import pack, unpack
from service.feedback.receipt_keys import open_receipt_keys
from service.settings import Settings

Refusal: TypeAlias = Literal["invalid", "expired"]

FILE = "receipt_keys.json"  # in the state directory
DAY = 86_400.0  # seconds

MAX_LENGTH = 2**16  # characters of a receipt: some 16,000 labels
SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}", re.ASCII)
SALT = b"candor.prediction_id"  # so that a signature of the same key for something else is none here
CLOCK_SKEW = 300.0  # seconds that the clocks of replicas may differ


class ReceiptRefused(ApiError):
    """A receipt that is not taken. Callers are not told why: every one gets the same answer.

    Args:
        why: for our own counting.
    """

    def __init__(self, why: Refusal) -> None:
        super().__init__(422, "not a prediction_id of this service, or an expired one", "prediction_id")
        self.why = why


class Keys(Protocol):
    """Keys that receipts are signed with."""

    def current(self) -> tuple[bytes, ...]:
        """The keys now, the oldest first."""


class Receipts:
    """Signs receipts, and reads what comes back. Safe from several threads.

    The newest key signs (HMAC-SHA256), and every key verifies, so that keys can be changed while receipts are out.

    Args:
        keys: to sign with.
        lifetime_seconds: for which a receipt is taken.
        now: seconds since 1970.
    """

    def __init__(self, keys: Keys, lifetime_seconds: float, now: Callable[[], float] = time.time) -> None:
        self._keys, self._lifetime, self.now = keys, lifetime_seconds, now

    def sign(self, receipt: Receipt) -> str:
        """A receipt as a text that only who has a key can make.

        Raises:
            InvalidInput: it has so many labels that it would be longer than MAX_LENGTH.
        """
        signed = self._signer().sign(base64_encode(pack(receipt)))
        if len(signed) > MAX_LENGTH:
            raise InvalidInput(f"a receipt of {len(signed)} characters; at most {MAX_LENGTH} are taken back")
        return signed.decode()

    def read(self, prediction_id: str) -> Receipt:
        """The receipt of a text that anybody may have sent. Nothing in it is looked at before its signature is.

        Raises:
            ReceiptRefused: it is forged, altered, cut, expired, of other keys or of another version of Candor.
        """
        if len(prediction_id) > MAX_LENGTH or not SHAPE.fullmatch(prediction_id):
            raise ReceiptRefused("invalid")
        signed = prediction_id.encode()
        signature = signed.rpartition(b".")[2]
        if base64_encode(base64_decode(signature)) != signature:  # its last character has two bits that would not count
            raise ReceiptRefused("invalid")
        try:
            receipt = unpack(base64_decode(self._signer().unsign(signed)))
        except (BadSignature, ValueError):
            raise ReceiptRefused("invalid") from None
        if not -CLOCK_SKEW <= self.now() - receipt.issued <= self._lifetime:
            raise ReceiptRefused("expired")
        return receipt

    def _signer(self) -> Signer:
        return Signer(self._keys.current(), SALT, key_derivation="hmac", digest_method=hashlib.sha256)


def open_receipts(settings: Settings) -> Receipts:
    """Receipts by the keys of the settings. The file of the state directory is made where it is missing.

    Args:
        settings: of the service.

    Raises:
        InvalidInput: the keys cannot be made or read, or are damaged.
    """
    path = settings.receipt_keys or settings.state / FILE
    keys = open_receipt_keys(path, make=settings.receipt_keys is None)
    return Receipts(keys, settings.receipt_days * DAY)
