"""`candor vocab evaluate`: how well open-set scores tell images of unknown classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

import glyph_world
from candor.calibration.open_set import TRUE_POSITIVE_RATE, check_rate
from candor.clip.artifact import load_artifact
from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from candor.files import whole_directory
from cli.console import console, errors, one_line_errors, show_progress
from cli.evaluate import artifact_names
from cli.options import (
    Cache,
    Device,
    Pretrained,
    Replace,
    Root,
    SkipBad,
    backbone,
    feature_cache,
    refuse_existing,
    word_list,
)
from cli.tables import percent
from glyph_world import TEMPLATE
from glyph_world.tasks import TASKS
from training.datasets import load_dataset
from training.glyphs import other_pictograms
from training.open_set import OpenSetRun, OpenSetTask, evaluate_open_set, first_of_each
from training.open_set_report import DOCUMENT, FIGURES, open_set_document, summarise, write_open_set
from vocab_index.index import VocabularyIndex

HEADS = ("AUROC %", "FPR95 %", "AUPR %", "known kept %", "unknown kept %")


@one_line_errors
def evaluate(
    dataset: Annotated[
        str, typer.Option(help="glyphs (its three tasks), glyphs/<task>, or any other data set (docs/datasets.md)")
    ] = "glyphs",
    root: Root = None,
    index: Annotated[
        Path | None, typer.Option(help="vocabulary index for NegLabel; glyph-clip's own phrases where none is given")
    ] = None,
    artifact: Annotated[
        list[Path] | None, typer.Option(help="tuned prompt to evaluate beside the hand-written one; repeatable")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="open_clip model; by default the artifacts', without artifacts glyph-clip")
    ] = None,
    pretrained: Pretrained = None,
    device: Device = "cpu",
    per_class: Annotated[int, typer.Option(help="test images a class, the first ones; 0 takes all", min=0)] = 40,
    seeds: Annotated[str, typer.Option(help="of the draws of labels, joined by commas")] = "1,2,3,4,5",
    true_positive_rate: Annotated[
        float, typer.Option(help="share of held-out images that a threshold keeps")
    ] = TRUE_POSITIVE_RATE,
    out: Annotated[Path | None, typer.Option(help="directory for open_set.json, .csv and histograms")] = None,
    cache: Cache = True,
    skip_bad: SkipBad = False,
    replace: Replace = False,
    as_json: Annotated[bool, typer.Option("--json", help="print what open_set.json would say")] = False,
) -> None:
    """Draw half of the classes as a caller's labels, and see which score tells the images of other classes.

    MCM and the largest cosine need labels alone; NegLabel compares with words that are far from all labels. Unknown are
    the test images of the other classes, and for the glyphs also every pictogram that no class shows. "kept" is what a
    threshold does that was fitted on held-out training images of the drawn labels. See docs/open-set.md.

    Example: candor vocab evaluate --dataset glyphs --out runs/open-set
    """
    check_rate(true_positive_rate)
    if out is not None:
        refuse_existing(out, replace, DOCUMENT)
    draws = _seeds(seeds)
    loaded = {name: load_artifact(path) for name, path in artifact_names(artifact or []).items()}
    tasks = _tasks(dataset, root, per_class)
    reference = next(iter(loaded.values())).config.backbone if loaded and model is None else None
    if reference is not None:
        clip = backbone(reference.model, pretrained or reference.pretrained, device)
    else:
        clip = backbone(model or glyph_world.MODEL_NAME, pretrained, device)
    vocabulary = _vocabulary(clip, index)
    options = {"cache": feature_cache(cache), "skip_bad": skip_bad, "progress": show_progress}
    runs, skipped = evaluate_open_set(
        clip, tasks, loaded, vocabulary, draws, true_positive_rate=true_positive_rate, **options
    )
    source = None if vocabulary is None else f"{vocabulary.source}, {len(vocabulary)} words"
    document = open_set_document(runs, true_positive_rate, source, skipped)
    if out is not None:
        with whole_directory(out, replace, mark=DOCUMENT) as draft:
            write_open_set(draft, runs, document)
    if as_json:
        console.print_json(json.dumps(document))
    else:
        _show(runs, source, true_positive_rate, skipped, out)


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InvalidInput(f"--seeds takes distinct whole numbers from 0, joined by commas, such as 1,2,3; got {text!r}")
    return seeds


def _tasks(name: str, root: Path | None, per_class: int) -> list[OpenSetTask]:
    """The data set, or all three of the glyphs; with pictures of no class where they can be drawn."""
    names = [f"glyphs/{task}" for task in TASKS] if name == "glyphs" else [name]
    tasks = []
    for found in names:
        family, _, task = found.partition("/")
        dataset = load_dataset(found, root)
        if per_class:
            dataset = replace_fields(dataset, test=first_of_each(dataset.test, per_class))
        tasks.append(OpenSetTask(dataset, other_pictograms(task) if family == "glyphs" else ()))
    return tasks


def _vocabulary(clip: Backbone, index: Path | None) -> VocabularyIndex | None:
    if index is not None:
        return VocabularyIndex.load(index, clip)
    if clip.name == glyph_world.MODEL_NAME:
        return VocabularyIndex.build(clip, word_list("glyphs"), TEMPLATE, show_progress)
    errors.print(f"no --index: NegLabel is left out; candor vocab build --model {clip.name} makes one", soft_wrap=True)
    return None


def _show(
    runs: Sequence[OpenSetRun], vocabulary: str | None, rate: float, skipped: Sequence[str], out: Path | None
) -> None:
    datasets = list(dict.fromkeys(run.dataset for run in runs))
    seeds = list(dict.fromkeys(run.seed for run in runs))
    spread = ", mean ± std over seeds" if len(seeds) > 1 else ""
    title = f"{', '.join(datasets)}; vocabulary: {vocabulary or 'none'}; {len(seeds)} seeds{spread}"
    table = Table(
        title=Text(title, style="table.title"), box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False
    )
    table.add_column("unknown images, score", no_wrap=True)
    for head in HEADS:
        table.add_column(head, justify="right", min_width=len("99.9 ± 9.9"))
    above: tuple[str, str] | None = None
    for (prompt, unknown, score), found in summarise(runs).items():
        if above != (prompt, unknown):
            table.add_row(Text(f"{prompt}: {unknown}"))
            above = (prompt, unknown)
        table.add_row(f"  {score}", *(_spread(found[figure]) for figure in FIGURES))
    console.print(table)
    console.print(f"kept: by the threshold that keeps {percent(rate)} % of held-out images of the drawn labels")
    for reason in skipped:
        errors.print(f"left out: {reason}", markup=False, highlight=False)
    if out is not None:
        console.print(f"{', '.join(sorted(path.name for path in out.iterdir()))} -> {out}", soft_wrap=True)


def _spread(found: dict[str, float]) -> str:
    mean, std = found["mean"], found["std"]
    return percent(mean) if std != std else f"{percent(mean)} ± {percent(std)}"
