"""`candor tune`: few-shot prompt tuning."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace as dc_replace
from pathlib import Path
from typing import Annotated

import typer

from candor.calibration.open_set import OpenSetThreshold
from candor.clip.artifact import CONFIG, PromptArtifact, Scope, load_artifact
from candor.clip.backbone import Backbone
from candor.clip.templates import check_template
from candor.errors import InvalidInput
from cli.console import console, epoch_bar, errors, one_line_errors, show_progress
from cli.options import (
    Cache,
    Device,
    Model,
    Pretrained,
    Replace,
    Root,
    SkipBad,
    backbone,
    default_config,
    feature_cache,
    refuse_existing,
)
from cli.tables import distance, percent, scope_table, threshold_line
from training.artifact_evaluation import tuned_text
from training.artifacts import training_record, write_artifact
from training.config import TrainConfig, load_config
from training.data import ImageDataset, classnames_of
from training.datasets import load_dataset
from training.evaluation import ScopeResult
from training.methods import METHODS, check_method, needs_outliers
from training.open_set import fit_thresholds
from training.outliers import find_outliers
from training.report import json_figures
from training.run import Features, Images, Shots, Tuned, encode_shots, evaluate_learner, evaluate_zero_shot, prepare
from training.run import tune as run_tuning
from training.tensorboard import scalars
from vocab_index.index import VocabularyIndex
from vocab_index.outliers import OutlierPool

CHECKPOINT = "checkpoint.safetensors"


@one_line_errors
def tune(
    out: Annotated[Path, typer.Option(help="directory of the prompt artifact to write")],
    dataset: Annotated[
        str, typer.Option(help="data set, such as glyphs/cats-and-cows or imagefolder")
    ] = "glyphs/cats-and-cows",
    root: Root = None,
    template: Annotated[str | None, typer.Option(help="hand-written prompt with {} in place of the data set's own")] = None,
    method: Annotated[
        str, typer.Option(help=f"one of: {', '.join(METHODS)}; or coop+ any regularisers, joined by +")
    ] = "coop+dor",
    index: Annotated[
        Path | None,
        typer.Option(help="vocabulary index (candor vocab build), for DOR's outliers and NegLabel's threshold"),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(help="recipe or a YAML file of your own; default: glyphs for glyph-clip, paper for other models"),
    ] = None,
    model: Model = "glyph-clip",
    pretrained: Pretrained = None,
    device: Device = "cpu",
    seed: Annotated[int | None, typer.Option(help="of shots, start, order, views and outliers")] = None,
    shots: Annotated[int | None, typer.Option(help="training images a base class")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the shots")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="of the optimiser, after the warm-up epoch")] = None,
    skip_bad: SkipBad = False,
    cache: Cache = True,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on from the checkpoint of a run that was stopped, by whatever")
    ] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="directory for TensorBoard's event files")] = None,
    replace: Replace = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the evaluation as JSON")] = False,
) -> None:
    """Tune a prompt on 16 images of each base class and keep it as an artifact, with its evaluation on base and new.

    DOR holds the text features of outliers (words near the base classes) to their zero-shot place, so that tuning does not
    make the model over-confident on labels it never saw.

    Example: candor vocab build --source glyphs --out runs/index && candor tune --index runs/index --out runs/cats-and-cows

    Your own images: candor tune --dataset imagefolder --root DIR --model ViT-B-16-quickgelu --pretrained openai
    --config paper --index runs/wordnet --out runs/mine, where DIR holds a folder a class.

    A checkpoint is kept beside --out after every epoch; the same command with --resume goes on from it.
    """
    partial = out.resolve().parent / f"{out.resolve().name}.partial"
    recipe = config or default_config(model)
    settings = load_config(recipe, {"seed": seed, "shots": shots, "epochs": epochs, "learning_rate": learning_rate})
    check_method(method, settings)
    if resume and out.exists() and not partial.exists():
        _say_complete(out, method, dataset, template, settings)
        return
    _check_paths(out, partial, replace, resume, tensorboard)
    needs_index = needs_outliers(method) and settings.outliers.selection != "oracle"
    if needs_index and index is None:
        raise InvalidInput(f"method {method!r} draws outliers from a vocabulary: give --index (candor vocab build)")
    data = load_dataset(dataset, root)
    if template is not None:
        data = dc_replace(data, template=check_template(template))
    clip = backbone(model, pretrained, device)
    vocabulary = VocabularyIndex.load(index, clip) if index else None
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)  # of a stopped run; only now, when all that was given has been read
    images = Images(feature_cache(cache), skip_bad, fresh=not cache and settings.augment.views > 0, progress=show_progress)
    features = prepare(clip, data, images)
    drawn = encode_shots(clip, data, settings, images)
    outliers = find_outliers(clip, vocabulary, data, features, settings) if needs_outliers(method) else None
    _report_left_out(features, drawn, outliers)
    tuned = _run(clip, data, features, drawn, method, settings, outliers, partial / CHECKPOINT, tensorboard)
    results = evaluate_learner(clip, tuned.learner, data, features, drawn.held_out[0])
    thresholds = _thresholds(clip, tuned, data, features, drawn, vocabulary)
    artifact = write_artifact(out, clip, tuned, data, method, settings, results, replace or resume, thresholds)
    shutil.rmtree(partial, ignore_errors=True)
    zero_shot = evaluate_zero_shot(clip, features, drawn.held_out[0])
    _show(artifact, out, dataset, {"zero-shot": zero_shot, method: results}, as_json)


def _say_complete(out: Path, method: str, dataset: str, template: str | None, settings: TrainConfig) -> None:
    """Nothing to resume; but only if what is there is what was asked for."""
    found = load_artifact(out)
    asked = (method, template or found.config.template, training_record(dataset, settings))
    if (found.config.method, found.config.template, found.config.training) != asked:
        raise InvalidInput(f"{out} holds {found.tag}, a finished run with other settings; choose another --out")
    console.print(f"{found.tag} in {out} is complete; there is nothing to resume", markup=False)


def _check_paths(out: Path, partial: Path, replace: bool, resume: bool, tensorboard: Path | None) -> None:
    """Fail before long work: an artifact in the way, or a stopped run that nobody said what to do with."""
    if tensorboard is not None and tensorboard.exists() and not tensorboard.is_dir():
        raise InvalidInput(f"--tensorboard {tensorboard} is a file; it takes a directory")
    refuse_existing(out, replace or resume, CONFIG)
    if resume:
        if not partial.exists():
            errors.print("no checkpoint yet; starting from the beginning")
        return
    if partial.exists() and not replace:
        raise InvalidInput(f"{partial} holds a stopped run: go on with --resume, or start again with --replace")


def _report_left_out(features: Features, drawn: Shots, outliers: OutlierPool | None) -> None:
    if not len(drawn.held_out[1]):
        errors.print(
            "no held-out images: all training images are shots, so there is no validation ECE and nothing to calibrate on; "
            "fewer --shots, or a val/ folder, leaves some"
        )
    skipped = (*features.skipped, *drawn.skipped)
    if skipped:
        errors.print(f"{len(skipped)} images cannot be read and were skipped: {'; '.join(skipped[:10])}", markup=False)
    if outliers is not None and outliers.dropped:
        named = ", ".join(outliers.dropped[:5])
        errors.print(
            f"{len(outliers.words)} outliers; {len(outliers.dropped)} words left out (a class name in them, or too long) "
            f"({named}{', ...' if len(outliers.dropped) > 5 else ''})",
            markup=False,
        )


def _run(
    clip: Backbone,
    data: ImageDataset,
    features: Features,
    drawn: Shots,
    method: str,
    settings: TrainConfig,
    outliers: OutlierPool | None,
    checkpoint: Path,
    tensorboard: Path | None,
) -> Tuned:
    with epoch_bar(f"tune {method}", settings.epochs) as show, scalars(tensorboard) as log:

        def on_epoch(epoch: int, figures: dict[str, float]) -> None:
            show(epoch, figures)
            log(epoch, figures)

        return run_tuning(clip, data, features, drawn, method, settings, outliers, on_epoch=on_epoch, checkpoint=checkpoint)


def _thresholds(
    clip: Backbone, tuned: Tuned, data: ImageDataset, features: Features, drawn: Shots, vocabulary: VocabularyIndex | None
) -> tuple[OpenSetThreshold, ...]:
    """Open-set thresholds from the held-out images of the base classes, among those classes."""
    text = tuned_text(clip, tuned.learner, classnames_of(data, "base"))
    return fit_thresholds(drawn.held_out[0], text, features.zero_shot["base"], clip.logit_scale, vocabulary)


def _show(
    artifact: PromptArtifact, out: Path, dataset: str, rows: dict[str, dict[Scope, ScopeResult]], as_json: bool
) -> None:
    figures = {name: {scope: r.figures() for scope, r in scopes.items()} for name, scopes in rows.items()}
    if as_json:
        plain = {name: {scope: json_figures(f) for scope, f in scopes.items()} for name, scopes in figures.items()}
        console.print_json(json.dumps({"artifact": str(out), "tag": artifact.tag, "evaluation": plain}))
    else:
        console.print(scope_table(dataset, figures, percent, distance))
        for threshold in artifact.config.open_set:
            console.print(threshold_line(threshold), markup=False, highlight=False)
        console.print(f"{artifact.tag} -> {out}", markup=False)
