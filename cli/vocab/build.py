"""`candor vocab build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candor.clip.templates import DEFAULT_TEMPLATE, check_template
from cli.console import console, one_line_errors, show_progress
from cli.options import Device, Model, Pretrained, Replace, backbone, default_template, refuse_existing, word_list
from vocab_index.index import MANIFEST, VocabularyIndex


@one_line_errors
def build(
    out: Annotated[Path, typer.Option(help="directory to write")],
    source: Annotated[
        str,
        typer.Option(help="wordnet (117,798 nouns), glyphs (the embedded world's phrases), or a text file, a word a line"),
    ] = "wordnet",
    model: Model = "glyph-clip",
    pretrained: Pretrained = None,
    template: Annotated[str | None, typer.Option(help="prompt with {} that every word is put into")] = None,
    device: Device = "cpu",
    replace: Replace = False,
) -> None:
    """Encode every word of a vocabulary once and keep the text features in a FAISS index.

    Outliers only work where the model knows the words: use glyphs with glyph-clip, wordnet with real CLIP weights.

    Example: candor vocab build --source wordnet --model ViT-B-16-quickgelu --pretrained openai --out runs/wordnet
    """
    refuse_existing(out, replace, MANIFEST)
    prompt = check_template(template or default_template(model) or DEFAULT_TEMPLATE)
    words = word_list(source)
    clip = backbone(model, pretrained, device)
    index = VocabularyIndex.build(clip, words, prompt, show_progress)
    index.save(out, replace)
    console.print(
        f"{len(index)} words of {words.source} ({sum(words.dropped.values())} blank or repeated dropped), {prompt!r} -> {out}",
        markup=False,
    )
