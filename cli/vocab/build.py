"""`candor vocab build`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from candor.clip.backbone import Backbone
from candor.clip.templates import DEFAULT_TEMPLATE, check_template
from candor.errors import InvalidInput
from cli.console import console, errors, one_line_errors, show_words
from cli.options import (
    Categories,
    Device,
    Instances,
    LabelColumn,
    Limit,
    MaxWords,
    Model,
    Pretrained,
    Replace,
    Sources,
    Visual,
    backbone,
    refuse_existing,
    word_list,
)
from glyph_world import default_template
from vocab_index.encoding import Encoding
from vocab_index.index import VocabularyIndex
from vocab_index.manifest import MANIFEST
from vocab_index.parts import kept_parts
from vocab_index.store.kinds import Kind


@one_line_errors
def build(
    out: Annotated[Path, typer.Option(help="directory to write")],
    source: Sources = ["wordnet"],  # noqa: B006
    category: Categories = None,
    visual: Visual = False,
    instances: Instances = True,
    max_words: MaxWords = None,
    limit: Limit = None,
    label_column: LabelColumn = "label",
    model: Model = "glyph-clip",
    pretrained: Pretrained = None,
    template: Annotated[
        list[str] | None,
        typer.Option(help="prompt with {} that every word is put into; give it again to average the features of several"),
    ] = None,
    index_type: Annotated[
        Literal["auto", "flat", "fp16", "ivf"],
        typer.Option(help="how vectors are kept (docs/vocabulary.md); auto chooses by their number, and says why"),
    ] = "auto",
    device: Device = "cpu",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option(help="of the model's weights; auto is bf16 on a GPU, else fp32"),
    ] = "auto",
    replace: Replace = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
) -> None:
    """Encode every word of a vocabulary once and keep the text features in an index.

    Words are only of use where the model knows them: take glyphs with glyph-clip, wordnet with real CLIP weights.

    Example: candor vocab build --source wordnet --visual --no-instances --model ViT-B-16-quickgelu --pretrained openai
    --out runs/wordnet

    Your own words: candor vocab build --source products.csv --label-column name --template "a photo of a {}."
    --template "a picture of a {} in a shop." --out runs/products

    A build that was stopped, by whatever, goes on when the same command is given again: what is encoded is kept beside
    --out in NAME.partial until the index is whole.
    """
    started = time.perf_counter()
    refuse_existing(out, replace, MANIFEST)
    templates = tuple(map(check_template, template or (default_template(model) or DEFAULT_TEMPLATE,)))
    words = word_list(
        source,
        categories=category,
        visual=visual,
        instances=instances,
        max_words=max_words,
        limit=limit,
        label_column=label_column,
    )
    clip = _backbone(model, pretrained, device, precision)
    encoding = Encoding.of(clip, words, templates, show_words)
    index, found = _build(encoding, out, index_type, replace)
    summary = {
        "out": str(out),
        "source": index.source,
        "words": len(index),
        "templates": list(index.templates),
        "model": clip.name,
        "precision": encoding.precision,
        "index_type": index.store.kind,
        "reason": index.store.reason,
        "dropped": index.provenance.dropped,
        "left_out": index.provenance.left_out,
        "words_found_encoded": found,
        "seconds": round(time.perf_counter() - started, 3),
        "digest": index.digest,
    }
    if as_json:
        console.print_json(json.dumps(summary))
    else:
        _show(index, out)


def _backbone(model: str, pretrained: str | None, device: str, precision: str) -> Backbone:
    """The model in the precision that suits its device."""
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    return backbone(model, pretrained, device, precision)


def _build(encoding: Encoding, out: Path, index_type: Kind | Literal["auto"], replace: bool) -> tuple[VocabularyIndex, int]:
    """The index, written; and how many of its words a stopped build had encoded already."""
    real = out.resolve()
    with kept_parts(real.with_name(f"{real.name}.partial"), encoding, replace) as parts:
        if out.exists() and not replace:
            raise InvalidInput(f"{out} was made by another process meanwhile; choose another --out, or give --replace")
        if parts.found:
            errors.print(
                f"going on with a build that was stopped: {parts.found:,} of {len(parts.features):,} words are encoded"
            )
        index = VocabularyIndex.encode(encoding, show_words, kind=index_type, shelf=parts)
        index.save(out, replace)
        return index, parts.found


def _show(index: VocabularyIndex, out: Path) -> None:
    prompts = ", ".join(map(repr, index.templates))
    console.print(f"{len(index):,} words of {index.source} under {prompts} -> {out}", soft_wrap=True)
    console.print(f"index type {index.store.kind}: {index.store.reason}", soft_wrap=True)
    if dropped := [f"{count:,} {reason}" for reason, count in index.provenance.dropped.items() if count]:
        console.print(f"left out: {', '.join(dropped)}", soft_wrap=True)
    for reason, words in index.provenance.left_out.items():
        console.print(f"  {reason} for {index.backbone.model}, such as: {', '.join(map(repr, words))}", soft_wrap=True)
