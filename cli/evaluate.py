"""`candor evaluate`: artifacts side by side on one data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from candor.calibration.bins import DEFAULT_BINS, check_bins
from candor.clip.artifact import SCOPES, PromptArtifact, load_artifact
from candor.clip.backbone import Backbone
from candor.errors import InvalidInput
from candor.files import whole_directory
from cli.console import console, errors, one_line_errors, show_progress
from cli.options import Cache, Device, Replace, Root, SkipBad, backbone, feature_cache, refuse_existing
from cli.tables import detail_table, distance, percent, scope_table
from training.artifact_evaluation import compare_artifacts
from training.data import ImageDataset
from training.datasets import load_dataset
from training.evaluation import both_scopes
from training.report import EVALUATION, EvaluatedRun, evaluation_document, read_evaluation, write_evaluation, write_plots
from training.seen import digests_of


@one_line_errors
def evaluate(
    artifacts: Annotated[list[Path] | None, typer.Argument(help="prompt artifacts (candor tune)")] = None,
    dataset: Annotated[str | None, typer.Option(help="data set, such as glyphs/cats-and-cows")] = None,
    root: Root = None,
    bins: Annotated[int, typer.Option(help="confidence bins: 10 (DOR and DAC), 15 (Guo et al.) or 20")] = DEFAULT_BINS,
    out: Annotated[Path | None, typer.Option(help="directory for evaluation.json, .csv, predictions and plots")] = None,
    stored: Annotated[
        Path | None, typer.Option("--from", help="an --out of before: its figures anew, without any model or image")
    ] = None,
    zero_shot: Annotated[bool, typer.Option(help="also evaluate the data set's hand-written template")] = True,
    pretrained: Annotated[
        str | None, typer.Option(help="weights, where they are no longer where the artifacts say (one backbone only)")
    ] = None,
    device: Device = "cpu",
    cache: Cache = True,
    skip_bad: SkipBad = False,
    replace: Replace = False,
    as_json: Annotated[bool, typer.Option("--json", help="print what evaluation.json would say")] = False,
) -> None:
    """Compare artifacts on the test images of one data set: accuracy and calibration on base and new classes.

    A label is base where the artifact was tuned on that name, and new otherwise; each scope's images are classified among
    that scope's labels only. A scope with fewer than two labels, or without images, is left out: its columns are dashes,
    and there is no mean of both. So a data set of other classes gives new only, and ImageNet-V2 base only for a prompt
    tuned on all of ImageNet. Each artifact's own calibrator is applied. Artifacts of several backbones are evaluated one
    backbone after the other, each with its own zero-shot row.

    Example: candor evaluate runs/coop runs/dor --dataset glyphs/cats-and-cows --bins 15 --out runs/compared
    """
    check_bins(bins)
    if out is not None:
        refuse_existing(out, replace, EVALUATION)
    skipped: tuple[str, ...] = ()
    if stored is not None:
        if artifacts or dataset:
            raise InvalidInput("--from takes an evaluation as it is: give it without artifacts and without --dataset")
        runs, skipped = read_evaluation(stored)
    else:
        if not artifacts or dataset is None:
            raise InvalidInput("give artifacts and --dataset, or --from with the --out of an earlier evaluation")
        loaded = {name: load_artifact(path) for name, path in artifact_names(artifacts).items()}
        data = load_dataset(dataset, root)
        _warn_of_shots(loaded, data)
        runs, skipped = compare_artifacts(
            loaded,
            _backbones(loaded.values(), pretrained, device),
            data,
            zero_shot=zero_shot,
            cache=feature_cache(cache),
            skip_bad=skip_bad,
            progress=show_progress,
        )
    if out is not None:
        with whole_directory(out, replace, mark=EVALUATION) as draft:
            write_evaluation(draft, runs, bins, skipped)
            write_plots(draft, runs, bins, _title(runs, bins))
    if as_json:
        console.print_json(json.dumps(evaluation_document(runs, bins, skipped)))
    else:
        _show(runs, bins, skipped, out)


def artifact_names(paths: Sequence[Path]) -> dict[str, Path]:
    """A short name for each artifact: the last part of its path where that is enough to tell it from the others."""
    last = [path.resolve().name for path in paths]
    names = [name if last.count(name) == 1 else str(path) for name, path in zip(last, paths, strict=True)]
    if len(set(names)) < len(names):
        raise InvalidInput(f"artifact {next(n for n in names if names.count(n) > 1)} is given twice")
    return dict(zip(names, paths, strict=True))


def _backbones(artifacts: Iterable[PromptArtifact], pretrained: str | None, device: str) -> dict[str, Backbone]:
    """The backbone of each artifact by digest, each loaded once."""
    references = {artifact.config.backbone.sha256: artifact.config.backbone for artifact in artifacts}
    if pretrained is not None and len(references) > 1:
        models = ", ".join(f"{ref.model} {sha[:8]}" for sha, ref in references.items())
        raise InvalidInput(f"--pretrained goes with artifacts of one backbone, got {models}")
    return {sha: backbone(ref.model, pretrained or ref.pretrained, device) for sha, ref in references.items()}


def _title(runs: Sequence[EvaluatedRun], bins: int) -> str:
    return f"{', '.join(dict.fromkeys(run.dataset for run in runs))}, {bins} bins"


def _warn_of_shots(artifacts: Mapping[str, PromptArtifact], dataset: ImageDataset) -> None:
    """Say which artifacts were tuned on images that are test images now (a folder that changed is split anew)."""
    if not any(artifact.config.shots for artifact in artifacts.values()):
        return
    files = set(digests_of([sample for sample in dataset.test if sample.path is not None]))
    for name, artifact in artifacts.items():
        seen = len(set(artifact.config.shots) & files)
        if seen:
            text = f"warning: {name} was tuned on {seen} of the test images of {dataset.name}; its figures flatter it"
            errors.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _show(runs: Sequence[EvaluatedRun], bins: int, skipped: Sequence[str], out: Path | None) -> None:
    alone = len({run.name for run in runs}) == len(runs)
    rows = {
        run.name if alone else f"{run.name}, {run.dataset}, seed {run.seed}": both_scopes(run.scopes, bins) for run in runs
    }
    title = _title(runs, bins)
    scopes = {name: {scope: figures[scope] for scope in SCOPES if scope in figures} for name, figures in rows.items()}
    console.print(scope_table(title, scopes, percent, distance))
    console.print(detail_table(title, rows))
    splits = {tuple((scope, result.n_labels) for scope, result in run.scopes.items()) for run in runs}
    if len(splits) > 1:
        errors.print("rows differ in how many labels a scope has: compare only rows that have the same")
    for reason in skipped:
        errors.print(f"left out: {reason}", markup=False, highlight=False)
    if out is not None:
        console.print(f"{', '.join(sorted(path.name for path in out.iterdir()))} -> {out}", markup=False, soft_wrap=True)
