"""`candor bench vocab`."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from candor.clip.backbone import RANDOM_WEIGHTS
from candor.errors import InvalidInput
from cli.bench.figures import exit_unless_equal, show_figures
from cli.console import console, one_line_errors, progress_bar
from cli.options import Device, backbone
from vocab_index.bench.report import QUICK, Setting, bench_vocab, count_parts


@one_line_errors
def vocab(
    model: Annotated[str | None, typer.Option(help="open_clip model that encodes, with random weights [ViT-B-16]")] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="vectors of a vocabulary, such as 118k or 1M; may be given twice [118k and 1M]")
    ] = None,
    words: Annotated[int | None, typer.Option(help="nouns to encode [512]", min=2)] = None,
    repeats: Annotated[int | None, typer.Option(help="turns of each way; the fastest counts [3]", min=1)] = None,
    device: Device = "cpu",
    quick: Annotated[
        bool, typer.Option("--quick", help="small sizes and glyph-clip: shows that all runs, not how fast")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """Encoding, outlier mining, search, storage and open set of a vocabulary, each against the straightforward way.

    Where both must compute the same, the bench checks it (exit code 1 if they do not); targets are shown beside the
    figures and are not checked. The first size is asked everything, further ones only search and storage. Vectors are made
    up, spread as CLIP's (vocab_index/bench/vectors.py says how). Some minutes on two cores, 12 GB of memory and 7 GB of
    temporary files for a million vectors; nothing else should run meanwhile.
    """
    setting = QUICK if quick else Setting()
    sizes = tuple(_count(text) for text in size) if size else setting.sizes
    setting = replace(setting, sizes=sizes, words=words or setting.words, repeats=repeats or setting.repeats)
    load = partial(backbone, model or ("glyph-clip" if quick else "ViT-B-16"), RANDOM_WEIGHTS, device)
    with progress_bar() as bar:
        task = bar.add_task("bench", total=count_parts(setting))
        figures = bench_vocab(setting, load, lambda done: bar.update(task, advance=1, description=done))
    if as_json:
        console.print_json(json.dumps(figures.document() | {"cores": os.cpu_count()}))
    else:
        show_figures("candor bench vocab", figures.figures)
    exit_unless_equal(figures.figures)


def _count(text: str) -> int:
    """A number of vectors: 118000, 118k or 1M."""
    found = re.fullmatch(r"(\d{1,9})([kM]?)", text)
    count = int(found[1]) * {"": 1, "k": 1000, "M": 1_000_000}[found[2]] if found else 0
    if not 1000 <= count <= 10**8:
        raise InvalidInput(f"no vocabulary size: {text!r}; give a number of vectors from 1k to 100M, such as 118k or 1M")
    return count
