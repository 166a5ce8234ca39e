"""A receipt as bytes, and back: fields of fixed places, then the texts and the labels' hashes."""

from __future__ import annotations

import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from struct import Struct
from struct import error as StructError

from candor.calibration.confidence_curve import MULTIPLIERS
from candor.clip.artifact import SCOPES
from service.feedback.label_hashes import HASH_BYTES
from service.feedback.receipt import KNOWN, Receipt

VERSION = 1
ID_BYTES = 16
POINTS = len(MULTIPLIERS)
# version, id, issued, scope and known, confidence, multiplier, gamma, bytes of artifact and label, curve in float16
HEAD = Struct(f"<B{ID_BYTES}sdBdddHH{POINTS}e")


def pack(receipt: Receipt) -> bytes:
    """The bytes of a receipt.

    Raises:
        ValueError: a field is out of its range.
    """
    artifact, label = (text.encode(errors="surrogatepass") for text in (receipt.artifact, receipt.label))
    kind = 4 * SCOPES.index(receipt.scope) + KNOWN.index(receipt.known)
    gamma = math.nan if receipt.gamma is None else receipt.gamma
    numbers = receipt.issued, kind, receipt.confidence, receipt.multiplier, gamma, len(artifact), len(label)
    try:
        if len(id_ := urlsafe_b64decode(f"{receipt.id}==")) != ID_BYTES:
            raise ValueError(f"its id has {len(id_)} bytes")
        head = HEAD.pack(VERSION, id_, *numbers, *receipt.curve)
    except (StructError, OverflowError, ValueError) as error:
        raise ValueError(f"no receipt: {error}") from None
    return head + artifact + label + receipt.labels


def unpack(data: bytes) -> Receipt:
    """The receipt of bytes. They were signed by us, perhaps by another version of us, so all is checked.

    Raises:
        ValueError: they are no receipt of this version.
    """
    if len(data) < HEAD.size or data[0] != VERSION:
        raise ValueError("not of this version")
    _, id_, issued, kind, confidence, multiplier, gamma, n_artifact, n_label, *curve = HEAD.unpack_from(data)
    texts = HEAD.size + n_artifact + n_label
    if len(data) < texts or (len(data) - texts) % HASH_BYTES or kind & 3 >= len(KNOWN) or kind >> 2 >= len(SCOPES):
        raise ValueError("damaged")
    factors = (multiplier,) if math.isnan(gamma) else (multiplier, gamma)
    if not (0 <= confidence <= 1 and all(0 < f < math.inf for f in factors) and all(0 <= c < math.inf for c in curve)):
        raise ValueError("impossible numbers")
    return Receipt(
        id=urlsafe_b64encode(id_).decode().rstrip("="),
        issued=issued,
        artifact=data[HEAD.size : HEAD.size + n_artifact].decode(errors="surrogatepass"),
        scope=SCOPES[kind >> 2],
        label=data[HEAD.size + n_artifact : texts].decode(errors="surrogatepass"),
        confidence=confidence,
        known=KNOWN[kind & 3],
        multiplier=multiplier,
        gamma=None if math.isnan(gamma) else gamma,
        curve=tuple(curve),
        labels=data[texts:],
    )
