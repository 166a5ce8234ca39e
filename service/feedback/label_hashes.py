"""The labels of a request as a receipt carries them: short hashes, enough to tell whether a true label was among them."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from candor.clip.templates import readable

HASH_BYTES = 3


def compared(label: str) -> str:
    """A label as it is compared with others: case, underscores and runs of white space make no difference."""
    return readable(label).casefold()


def label_hashes(labels: Iterable[str]) -> bytes:
    """The hashes of labels, HASH_BYTES each, one after the other: BLAKE2b of what is compared.

    They are short so that receipts are. A label that is none of C labels is taken for one of them once in 2^24 / C times on
    average: one in 840,000 for 20 labels, one in 17,000 for 1000.
    """
    return b"".join(map(_hash, labels))


def among(label: str, hashes: bytes) -> bool:
    """Whether a label is one of those with these hashes; also true by chance, as `label_hashes` says."""
    wanted = _hash(label)
    start = hashes.find(wanted)
    while start % HASH_BYTES and start >= 0:
        start = hashes.find(wanted, start + 1)
    return start >= 0


def _hash(label: str) -> bytes:
    # half of a surrogate pair is no label, but must not be an error here
    return blake2b(compared(label).encode(errors="surrogatepass"), digest_size=HASH_BYTES, person=b"candor.label").digest()
