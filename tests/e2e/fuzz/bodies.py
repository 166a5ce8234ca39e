"""Requests of a hostile caller: ten thousand of them from one seed."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

from tests.e2e.fuzz.pictures import mutations

BOUNDARY = "5bf0"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
LABELS = ["red umbrella", "blue anchor", "yin yang"]
IMAGE_ROUTES = ("/v1/classify", "/v1/classify", "/v1/lookup", "/v1/hf", "/classify_batch")
ODD: list[Any] = [
    *(None, True, 0, -1, 2**63, 1e308, -0.0),
    *("", " ", "cat"),
    "http://127.0.0.1:1/x.png",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "data:,",
    "===",
    "\ud800",
    "\udfff\ud800",
    "a\0b",
    "‮gnp.exe",
    "e" + "́" * 400,
    "👩‍👩‍👧‍👦" * 50,
    "<start_of_text>",
    "<end_of_text>",
    "{}",
    "{} {}",
    "{0}",
    "{0.__class__}",
    "a photo of a {}.",
    "%s %n",
    "x" * 501,
    "x" * 1_000_000,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    ["cat", "cat"],
    ["cat", 1],
    ["", " "],
    ["x" * 600],
    [f"label {i}" for i in range(10_000)],
    [f"label {i}" for i in range(60)],
    ["\ud83d", "ok"],
    ["<end_of_text>", "cat"],
    ["נחש", "ثعبان", "蛇"],
]
# what json.dumps would not write
LITERALS = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"9" * 5000,
    b"1" + b"0" * 4000,
    b"0x10",
    b"01",
    b"'cat'",
    b'"\\ud800"',
    b'"\xff"',
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"[" * 100_000,
)
CONTENT_TYPES = (
    "",
    "text/plain",
    "application/json; charset=utf-16",
    "application/json; charset=nonsense",
    "APPLICATION/JSON",
    "application/x-www-form-urlencoded",
    "image/png",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=other",
    f'multipart/form-data; boundary="{BOUNDARY}',
    f"multipart/form-data; boundary={'b' * 300}",
    f"multipart/mixed; boundary={BOUNDARY}",
    MULTIPART + "; charset=utf-7",
    "application/vnd.bentoml+pickle",
    "application/octet-stream",
    ";;;",
    "a" * 2000,
)


@dataclass(frozen=True)
class Case:
    """A request.

    Attributes:
        kind: of what made it, for reports.
        method, path, body: of it.
        headers: of it.
    """

    kind: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"


def cases(seed: int, count: int) -> list[Case]:
    """The same cases for the same seed."""
    return list(islice(_endless(Random(seed)), count))


def _endless(rng: Random) -> Iterator[Case]:
    pictures = mutations(rng)
    makers: list[tuple[Callable[[Random, Iterator[bytes]], Case], int]] = [
        (_form_with_picture, 38),
        (_json_with_picture, 24),
        (_odd_options, 14),
        (_odd_form, 9),
        (_broken_json, 3),
        (_broken_form, 6),
        (_odd_content, 4),
        (_label_set, 2),
    ]
    while True:
        (make,) = rng.choices([maker for maker, _ in makers], [weight for _, weight in makers])
        yield make(rng, pictures)


def form(*parts: tuple[str, bytes], end: bytes = b"--", boundary: str = BOUNDARY) -> bytes:
    """A multipart body of (headers of the part, content)."""
    mark = b"--" + boundary.encode()
    body = b"".join(mark + b"\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n" for headers, content in parts)
    return body + mark + end + b"\r\n"


def _part(name: str, content: bytes, file: str | None = None) -> tuple[str, bytes]:
    file_name = "" if file is None else f'; filename="{file}"'
    return f'Content-Disposition: form-data; name="{name}"{file_name}', content


def _document(path: str, picture: Any, labels: Any = LABELS, **options: Any) -> Any:
    if path == "/v1/hf":
        return {"inputs": picture, "parameters": {"candidate_labels": labels, **options}}
    question = {"image": picture, **({} if path == "/v1/lookup" else {"labels": labels}), **options}
    return {"items": [question]} if path == "/classify_batch" else question


def _json(kind: str, path: str, document: Any) -> Case:
    return Case(kind, path, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _form_with_picture(rng: Random, pictures: Iterator[bytes]) -> Case:
    path = rng.choice(("/v1/classify", "/v1/classify", "/v1/lookup"))
    files = [_part("image", next(pictures), "x.png") for _ in range(rng.choice((1, 1, 1, 2)))]
    labels = [] if path == "/v1/lookup" else [_part("labels", json.dumps(LABELS).encode())]
    return Case("picture in a form", path, form(*files, *labels), {"Content-Type": MULTIPART})


def _json_with_picture(rng: Random, pictures: Iterator[bytes]) -> Case:
    path, data = rng.choice(IMAGE_ROUTES), bytearray(base64.b64encode(next(pictures)))
    if rng.random() < 0.1 and data:
        data[rng.randrange(len(data))] = rng.choice(b"!=-_ \n\0")
    prefix = rng.choice(("", "", "", "data:image/png;base64,"))
    return _json(
        "picture in JSON",
        path,
        _document(path, prefix + data.decode("latin-1"), open_set=True)
        if path == "/v1/classify"
        else _document(path, prefix + data.decode("latin-1")),
    )


def _odd_options(rng: Random, pictures: Iterator[bytes]) -> Case:
    path, picture = rng.choice(IMAGE_ROUTES), base64.b64encode(next(pictures)).decode()
    names = (
        "image",
        "images",
        "labels",
        "template",
        "templates",
        "top_k",
        "open_set",
        "k",
        "label_set",
        "multi_label",
        "threshold",
        "thresholds",
        "inputs",
        "parameters",
        "items",
        "candidate_labels",
        "hypothesis_template",
        "__proto__",
    )
    document = _document(path, picture)
    target = document
    if rng.random() < 0.5:
        target = document.get("parameters") or (document.get("items") or [document])[0]
    for _ in range(rng.choice((1, 1, 2))):
        target[rng.choice(names)] = rng.choice(ODD)
    return _json("odd options", path, rng.choice(ODD) if rng.random() < 0.05 else document)


def _odd_form(rng: Random, pictures: Iterator[bytes]) -> Case:
    path = rng.choice(("/v1/classify", "/v1/classify", "/v1/lookup", "/v1/hf"))
    parts = [_part("image", next(pictures), rng.choice(("x.png", "../../etc/passwd", "a\\b", "\0", "x" * 3000, "")))]
    for _ in range(rng.choice((1, 2, 4))):
        name, value = (
            rng.choice(("image", "labels", "template", "top_k", "open_set", "k", "x\r\ny", "", "label_set")),
            rng.choice(ODD),
        )
        text = value if isinstance(value, str) else json.dumps(value)
        parts.append(_part(name, text.encode("utf-8", "surrogatepass"), rng.choice((None, None, None, "f"))))
    rng.shuffle(parts)
    return Case("odd form", path, form(*parts), {"Content-Type": MULTIPART})


def _broken_json(rng: Random, pictures: Iterator[bytes]) -> Case:
    path = rng.choice(IMAGE_ROUTES)
    whole = json.dumps(_document(path, "MARK", ["MARK", "cat"], top_k="MARK")).encode()
    body = whole.replace(b'"MARK"', rng.choice(LITERALS), 1 if rng.random() < 0.5 else 3)
    if rng.random() < 0.3:
        body = rng.choice((b"", b"\xef\xbb\xbf", b"\0", rng.choice(LITERALS))) + body[: rng.randrange(len(body) + 1)][:1000]
    return Case("broken JSON", path, body, {"Content-Type": "application/json"})


def _broken_form(rng: Random, pictures: Iterator[bytes]) -> Case:
    image, labels = _part("image", next(pictures), "x.png"), _part("labels", json.dumps(LABELS).encode())
    good = form(image, labels)
    inner = (
        'Content-Disposition: form-data; name="image"; filename="x"\r\nContent-Type: multipart/mixed; boundary=i',
        form(image),
    )
    body = rng.choice(
        (
            lambda: good[: rng.randrange(len(good))],
            lambda: form(image, labels, end=b""),
            lambda: form(inner, labels),
            lambda: form(*[_part("labels", b"x")] * 10_000, image),
            lambda: form(*[_part("image", b"x", "f")] * 10_000),
            lambda: form(("", b"no headers"), image),
            lambda: form(("Content-Disposition: attachment", b""), image),
            lambda: form(("Content-Disposition: form-data", b"no name"), labels, image),
            lambda: form(("X: " + "y" * 100_000, b""), image),
            lambda: form((image[0] + "\r\nContent-Transfer-Encoding: base64", base64.b64encode(image[1])), labels),
            lambda: good.replace(b"\r\n", b"\n"),
            lambda: good + good,
            lambda: b"--" + good,
            lambda: b"junk before\r\n" + good + b"junk behind",
            lambda: form(image, labels, ("Content-Disposition: form-data; name*=utf-8''%ff", b"x")),
            lambda: form(image, labels, boundary="other"),
        )
    )()
    return Case(
        "broken form", rng.choice(("/v1/classify", "/v1/classify", "/v1/lookup")), body, {"Content-Type": MULTIPART}
    )


def _odd_content(rng: Random, pictures: Iterator[bytes]) -> Case:
    path = rng.choice(IMAGE_ROUTES)
    image, labels = _part("image", next(pictures), "x.png"), _part("labels", json.dumps(LABELS).encode())
    document = json.dumps(_document(path, base64.b64encode(image[1]).decode())).encode()
    body = rng.choice((document, form(image, labels), document.decode().encode("utf-16"), image[1]))
    headers = {"Content-Type": rng.choice(CONTENT_TYPES)}
    if rng.random() < 0.4:
        headers = {
            "Content-Type": "application/json",
            "Content-Encoding": rng.choice(("gzip", "deflate", "br", "identity", "x")),
        }
        body = rng.choice((document, gzip.compress(document), _ZIP_BOMB))
    return Case("odd content", path, body, headers)


def _label_set(rng: Random, pictures: Iterator[bytes]) -> Case:
    name = rng.choice(("a", "b", "..", "%2e%2e%2fx", "x" * 300, "%00", "a%2Fb", "%ff", "ü", "a b", "con", ".hidden"))
    document = {
        "labels": rng.choice([LABELS, *ODD]),
        rng.choice(("template", "templates", "threshold", "x")): rng.choice(ODD),
    }
    method = rng.choice(("PUT", "PUT", "PUT", "DELETE", "GET", "PATCH"))
    body = rng.choice((json.dumps(document).encode(), rng.choice(LITERALS))) if method != "GET" else b""
    return Case("label set", f"/v1/label_sets/{name}", body, {"Content-Type": "application/json"}, method)


_ZIP_BOMB = gzip.compress(bytes(2**26))  # 64 MB in 64 kB
