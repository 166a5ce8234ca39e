"""YAML as one reads it: keys in their order, text of several lines as a block."""

from __future__ import annotations

import sys

import yaml


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def yaml_text(content: object, heading: str = "") -> str:
    """YAML of dictionaries, lists and text.

    Args:
        content: to write.
        heading: lines of a comment above it, without its sign.
    """
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    return comment + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=sys.maxsize, allow_unicode=True)
