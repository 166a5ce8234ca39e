"""`candor calibrate`: another post-hoc calibrator for an artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from candor.calibration import Calibrator, ScopedCalibrator
from candor.calibration.open_set import check_rate
from candor.clip.artifact import CONFIG, SCOPES, PromptArtifact, Scope, load_artifact, with_calibrator
from candor.errors import InvalidInput
from cli.console import console, errors, one_line_errors, show_progress
from cli.healing import Look, look
from cli.healing_report import record, sentences, table
from cli.options import Cache, Device, Root, SkipBad, backbone, feature_cache, refuse_existing
from cli.tables import distance, percent, scope_table, threshold_line
from training.calibrate import KINDS, OWN_CONFIDENCE, Calibration
from training.calibrate import calibrate as run_calibration
from training.datasets import load_dataset
from training.evaluation import ScopeResult
from training.report import json_figures
from vocab_index.index import VocabularyIndex

KEPT_OUT = 1  # exit code: nothing was wrong, and nothing was written
OF_FEEDBACK = ("earlier", "since")  # options that need --from-feedback
OF_BOTH = ("artifact", "out", "replace", "as_json", "from_feedback")


@one_line_errors
def calibrate(
    context: typer.Context,
    artifact: Annotated[Path, typer.Argument(help="prompt artifact (candor tune)")],
    dataset: Annotated[str | None, typer.Option(help="data set; by default the one that the artifact was tuned on")] = None,
    root: Root = None,
    kind: Annotated[str, typer.Option(help=f"one of: {', '.join(KINDS)}")] = "temperature",
    from_feedback: Annotated[
        str | None, typer.Option(help="fit to stored feedback instead: its database, as CANDOR_FEEDBACK, or a SQLite file")
    ] = None,
    earlier: Annotated[
        list[Path] | None, typer.Option(help="an earlier version of the artifact, whose feedback counts too; repeatable")
    ] = None,
    since: Annotated[str | None, typer.Option(help="use only feedback on predictions of the last time, such as 7d")] = None,
    out: Annotated[Path | None, typer.Option(help="directory of the artifact to write")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="replace --out if it is there; without --out: ARTIFACT")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="write it although validation speaks against it")] = False,
    index: Annotated[
        Path | None, typer.Option(help="vocabulary index: fit the open-set thresholds anew, NegLabel's with it")
    ] = None,
    true_positive_rate: Annotated[
        float | None, typer.Option(help="share of held-out images that new open-set thresholds keep; 0.95 by default")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="of the draw of held-out images; by default the artifact's", min=0)
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="weights, where they are no longer where the artifact says")
    ] = None,
    device: Device = "cpu",
    cache: Cache = True,
    skip_bad: SkipBad = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """Fit a post-hoc calibrator on held-out training images of the base classes, and store it in the artifact.

    temperature: one factor for all labels. dac: makes labels that tuning pushed away from the base labels less sure; it
    leaves base labels alone, and has nothing to fit. none: the model's own confidence. keep: the one that the
    artifact has. No calibrator changes a prediction.

    Open-set thresholds (docs/open-set.md) stay as they are, for no calibrator changes an open-set score. With --index,
    --true-positive-rate or --kind keep they are fitted anew on the same held-out images.

    A calibrator that makes validation ECE worse is shown, but not written (exit code 1), unless --force is given. Test
    images decide nothing; the artifact is evaluated on them anew, because it keeps its evaluation.

    With --from-feedback no image is needed: a temperature for base and one for new labels is fitted to the true labels that
    a service was told (docs/calibration-in-production.md). Where there is too little feedback, or no gain beyond noise on
    the latest of it, nothing is written (exit code 1).

    Example: candor calibrate runs/cats-and-cows --kind dac+temperature --out runs/calibrated
    Example: candor calibrate runs/cats-and-cows --from-feedback state/feedback.db --since 7d --out runs/healed
    """
    _check_together(context, from_feedback is not None)
    if from_feedback is not None:
        target = _target(artifact, out, replace)
        _heal(look(load_artifact(artifact), from_feedback, earlier or (), since), target, replace, as_json)
        return
    if true_positive_rate is not None:
        check_rate(true_positive_rate)
    target = _target(artifact, out, replace)
    loaded = load_artifact(artifact)
    name = dataset or loaded.config.training.get("dataset")
    if not isinstance(name, str):
        raise InvalidInput("the artifact does not say its data set: give --dataset")
    data = load_dataset(name, root)
    reference = loaded.config.backbone
    clip = backbone(reference.model, pretrained or reference.pretrained, device)
    options: dict[str, Any] = {"seed": seed, "cache": feature_cache(cache), "skip_bad": skip_bad, "progress": show_progress}
    vocabulary = VocabularyIndex.load(index, clip) if index else None
    thresholds = {"index": vocabulary, "true_positive_rate": true_positive_rate}
    result = run_calibration(clip, loaded, data, kind, **thresholds, **options)
    written = force or result.fit.objection is None
    if written:
        _write(loaded, target, replace, result)
    if as_json:
        console.print_json(json.dumps(_document(loaded, name, kind, target if written else None, result)))
    else:
        _show(loaded, name, target if written else None, result)
    _warn(result, written)
    if not written:
        raise typer.Exit(KEPT_OUT)


def _check_together(context: typer.Context, feedback: bool) -> None:
    """Refuse options that say nothing where calibration is, or is not, from feedback."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    wrong = [name for name in given if (name not in (*OF_FEEDBACK, *OF_BOTH) if feedback else name in OF_FEEDBACK)]
    if wrong:
        option = f"--{wrong[0].replace('_', '-')}"
        raise InvalidInput(f"{option} goes {'not together with' if feedback else 'only with'} --from-feedback")


def _heal(found: Look, target: Path, replace: bool, as_json: bool) -> None:
    """Write what was found, or say why not."""
    healing, tag = found.healing, found.artifact.tag
    written = found.write(target, replace) if healing.refusal is None else None
    if as_json:
        figures = record(healing, found.tags)
        place, new = (None, None) if written is None else (str(target), written.tag)
        calibrator = healing.calibrator.model_dump()
        document = {"artifact": place, "tag": tag, "healed_tag": new, "refusal": healing.refusal, "calibrator": calibrator}
        console.print_json(json.dumps(document | {"feedback": figures}))
    else:
        console.print(table(healing, f"{tag}, the latest feedback"))
        for sentence in sentences(healing):
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)
        if written is not None:
            console.print(f"{written.tag} with {_named(healing.calibrator)} -> {target}", markup=False, soft_wrap=True)
    if written is None:
        errors.print("nothing is written: no scope has enough feedback and a gain beyond noise", soft_wrap=True)
        raise typer.Exit(KEPT_OUT)


def _target(artifact: Path, out: Path | None, replace: bool) -> Path:
    if out is not None:
        refuse_existing(out, replace, CONFIG)
        return out
    if not replace:
        raise InvalidInput("say where to write: --out DIR, or --replace to replace the artifact itself")
    refuse_existing(artifact, replace, CONFIG)
    return artifact.resolve()  # a link stays, what it points to is replaced


def _write(artifact: PromptArtifact, path: Path, replace: bool, result: Calibration) -> None:
    """Write it; what is kept as it was healed keeps the evidence of that, too: its figures are of the same feedback."""
    config = artifact.config
    healing = config.healing if result.fit.kept else {}
    healed = [scope for scope in SCOPES if healing.get(scope, {}).get("healed")]
    reference = {scope: found.reference() for scope, found in result.after.items()}
    with_calibrator(
        artifact,
        path,
        result.fit.calibrator,
        replace,
        reference=reference | {scope: config.reference[scope] for scope in healed if scope in config.reference},
        evaluation=_figures(result.after)
        | {scope: config.evaluation[scope] for scope in healed if scope in config.evaluation},
        open_set=result.open_set,
        healing=healing,
    )


def _figures(results: dict[Scope, ScopeResult]) -> dict[Scope, dict[str, float]]:
    return {scope: result.figures() for scope, result in results.items()}


def _named(calibrator: Calibrator) -> str:
    if calibrator == OWN_CONFIDENCE:
        return "no calibrator"
    if isinstance(calibrator, ScopedCalibrator):
        return f"scoped (T = {calibrator.base:.4g} base, {calibrator.new:.4g} new, strength {calibrator.strength:.3g})"
    return f"{calibrator.kind} (T = {calibrator.temperature:.4g})"


def _show(artifact: PromptArtifact, dataset: str, written: Path | None, result: Calibration) -> None:
    fit = result.fit
    rows = {"before": _figures(result.before), "after": _figures(result.after)}
    console.print(scope_table(f"{dataset}, test images", rows, percent, distance))
    console.print(
        f"before: {_named(artifact.config.calibrator)}; after: {_named(fit.calibrator)}", markup=False, highlight=False
    )
    console.print(
        f"{fit.images} held-out training images: ECE {percent(fit.ece_before)} % -> {percent(fit.ece_after)} %, "
        f"NLL {fit.nll_before:.4f} -> {fit.nll_after:.4f} nats",
        markup=False,
    )
    for threshold in result.open_set:
        console.print(threshold_line(threshold), markup=False, highlight=False)
    if written is not None:
        console.print(f"{artifact.tag} with {_named(fit.calibrator)} -> {written}", markup=False)


def _warn(result: Calibration, written: bool) -> None:
    for reason in result.skipped:
        errors.print(f"left out: {reason}", markup=False, highlight=False)
    if result.fit.objection is not None:
        verdict = "written all the same" if written else "kept out; --force writes it all the same"
        errors.print(f"{result.fit.objection}: {verdict}", markup=False, highlight=False, soft_wrap=True)


def _document(
    artifact: PromptArtifact, dataset: str, kind: str, written: Path | None, result: Calibration
) -> dict[str, Any]:
    """What --json prints; a figure that is not defined is null."""
    fit = result.fit
    validation = {
        "images": fit.images,
        "ece": {"before": fit.ece_before, "after": fit.ece_after},
        "nll": {"before": fit.nll_before, "after": fit.nll_after},
    }
    evaluation = {
        name: {scope: json_figures(f) for scope, f in _figures(results).items()}
        for name, results in (("before", result.before), ("after", result.after))
    }
    return {
        "artifact": None if written is None else str(written),
        "tag": artifact.tag,
        "dataset": dataset,
        "kind": kind,
        "calibrator": fit.calibrator.model_dump(),
        "objection": fit.objection,
        "open_set": [threshold.model_dump() for threshold in result.open_set],
        "validation": validation,
        "evaluation": evaluation,
    }
