"""What schemathesis cannot read in a schema: how an image looks, and which labels read the same."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image

ROOM = 60  # bytes; a byte is a token at most, and the text tower takes 75
MAX_LABELS = 10  # as the service is told in the tests
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def encoded(kind: str, colour: tuple[int, int, int], size: tuple[int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


sides, channels = st.integers(1, 40), st.integers(0, 255)
images = st.builds(encoded, st.sampled_from(FORMATS), st.tuples(channels, channels, channels), st.tuples(sides, sides))

schemathesis.openapi.format("binary", images)
schemathesis.openapi.format("byte", images.map(lambda data: base64.b64encode(data).decode()))


def strings(item: dict[str, Any], *names: str) -> list[str]:
    """The texts of some fields, whether each is one or a list."""
    values = [item[name] for name in names if name in item]
    lists = [value if isinstance(value, (list, dict)) else [value] for value in values]
    return [text for some in lists for text in some if isinstance(text, str)]


def read_as(label: str) -> str:
    return " ".join(label.replace("_", " ").split()).casefold()


def possible(item: dict[str, Any]) -> bool:
    labels, templates = strings(item, "labels"), strings(item, "template", "templates", "hypothesis_template")
    listed = item.get("candidate_labels")
    if isinstance(listed, str):  # with commas between
        labels = listed.split(",")
        if len(set(map(read_as, labels))) < len(labels) or len(labels) > MAX_LABELS:
            return False
    elif isinstance(listed, list):
        labels = strings(item, "candidate_labels")
    longest = [max((len(text.encode(errors="replace")) for text in some), default=0) for some in (labels, templates)]
    same = len(set(map(read_as, labels))) < len(set(labels))
    unread = any(label.strip("_") and not any(map(str.isprintable, label.replace(" ", ""))) for label in labels)
    return not same and not unread and sum(longest) <= ROOM and set(strings(item, "thresholds")) <= set(labels)


def written_otherwise(form: dict[str, Any]) -> bool:
    """Whether a form's text means something else than its value.

    An empty list is no field at all, `{}` is a template, and a text that begins with `[` is a JSON list.
    """
    alone = strings(form, "labels", "templates")
    return [] in form.values() or form.get("templates") == {} or (bool(alone) and alone[0].lstrip().startswith("["))


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Leave out what is impossible in a way that no schema can say, and is a 422.

    That is labels that differ as JSON and read the same ("a b", "A_b"), prompts with more tokens than the text tower takes,
    labels of control characters alone, which no tokenizer knows, and thresholds for labels that are not there; in a form,
    what cannot be written as it is meant.
    """
    if not isinstance(case.body, dict):
        return True
    parts = [case.body, *(case.body[key] for key in ("parameters", "items") if key in case.body)]
    items = [item for part in parts for item in (part if isinstance(part, list) else [part])]
    return all(possible(item) for item in items if isinstance(item, dict)) and not (
        case.media_type == "multipart/form-data" and written_otherwise(case.body)
    )
