"""`candor demo`: the whole loop on the embedded default."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from candor.clip.artifact import SCOPES
from candor.clip.backbone import Backbone
from candor.clip.learners import create_learner
from candor.clip.templates import fill
from candor.errors import CandorError
from candor.files import whole_directory
from cli.console import console, one_line_errors, show_progress
from cli.experiment import default_workers, spread, step_bar
from cli.options import Replace, backbone, refuse_existing, word_list
from cli.server import running_service
from cli.tables import scope_table
from glyph_world import TEMPLATE
from glyph_world.render import Scene, render
from glyph_world.tasks import TASKS
from training.artifact_evaluation import tuned_text
from training.artifacts import write_artifact
from training.config import load_config
from training.data import classnames_of, held_out, in_scope, scope_labels
from training.datasets import load_dataset
from training.experiment.plan import Vocabulary
from training.experiment.recipe import MAIN_TABLE, ZERO_SHOT, Experiment
from training.experiment.report import summaries
from training.experiment.runner import Finished, Resources, run_experiment
from training.experiment.summary import as_json, percent, plain
from training.features import encode_samples
from training.open_set import fit_thresholds
from training.report import EvaluatedRun, json_figures, write_plots
from training.run import Tuned
from vocab_index.index import VocabularyIndex

EXPERIMENT = Experiment(
    name="demo",
    title="The glyph world (embedded test model, not real CLIP weights)",
    datasets=tuple(f"glyphs/{task}" for task in TASKS),
    methods=(ZERO_SHOT, "coop", "kgcoop", "coop+dor"),
    seeds=(1, 2, 3),
    train=load_config("glyphs"),
)
KEPT = "coop+dor"
SUMMARY = "summary.json"


@one_line_errors
def demo(
    out: Annotated[Path, typer.Option(help="directory to write")] = Path("runs/demo"),
    replace: Replace = False,
) -> None:
    """Run the whole loop on the embedded default, without a network: some minutes on two cores.

    Builds a vocabulary index, tunes CoOp, KgCoOp and CoOp+DOR on three tasks with three seeds, shows what each does to
    accuracy and calibration on base and new classes, keeps a DOR artifact, starts the real service with it, classifies a
    picture over HTTP among labels of which some were never tuned, and shows the answer and the service's own metrics.
    """
    refuse_existing(out, replace, SUMMARY)
    clip = backbone(EXPERIMENT.model, EXPERIMENT.pretrained)
    vocabulary = Vocabulary(word_list(EXPERIMENT.vocabulary), TEMPLATE)
    with whole_directory(out, replace, mark=SUMMARY) as draft:
        console.rule("1. a vocabulary index")
        index = VocabularyIndex.build(clip, vocabulary.words, vocabulary.template, show_progress)
        index.save(draft / "index")
        console.print(f"{len(index)} phrases that glyph-clip knows")
        console.rule("2. three ways to tune a prompt")
        with step_bar("tune") as on_step:
            resources = Resources(draft, default_workers("cpu"))
            finished = run_experiment(EXPERIMENT, clip, vocabulary, resources, on_step=on_step)
        if finished.failures:
            raise CandorError("; ".join(f"{what}: {why}" for what, why in finished.failures))
        rows = summaries(finished, EXPERIMENT.datasets)[MAIN_TABLE]
        methods = {name: summary for name, summary in rows.items() if summary}
        shown = {n: {s: m[s] for s in SCOPES} for n, m in methods.items()}
        console.print(scope_table(spread(EXPERIMENT), shown, percent, plain))
        runs = [run for method in methods for run in finished.runs(MAIN_TABLE, method)]
        write_plots(draft, runs, title=EXPERIMENT.title)
        _keep_artifact(draft / "artifact", clip, finished, index)
        console.rule("3. the service")
        answer = _ask_service(draft)
        _write_summary(draft / SUMMARY, {n: as_json(m) for n, m in methods.items()}, answer, runs)
    console.print(f"artifact, index, plots and {SUMMARY} are in {out}", markup=False)


def _keep_artifact(path: Path, clip: Backbone, finished: Finished, index: VocabularyIndex) -> None:
    """The DOR prompt of the first task and seed, as an artifact with open-set thresholds."""
    job = finished.tables[MAIN_TABLE][KEPT][0]
    record = finished.records[job.key]
    dataset = load_dataset(job.dataset)
    names = classnames_of(dataset, "base")
    learner = create_learner(job.config.learner, clip, names)
    learner.load_state_dict(record.state(), strict=True)
    aside = in_scope(held_out(dataset, job.config.shots, job.config.seed), scope_labels(dataset)["base"])
    thresholds = fit_thresholds(
        encode_samples(clip, aside).image_features[:, 0],
        tuned_text(clip, learner, names),
        clip.encode_text(fill(dataset.template, names)),
        clip.logit_scale,
        index,
    )
    tuned = Tuned(learner, record.history)
    write_artifact(path, clip, tuned, dataset, job.method, job.config, record.results(), open_set=thresholds)


def _ask_service(draft: Path) -> dict[str, Any]:
    """Start the service, classify one picture over HTTP, read the metrics, stop the service."""
    task = next(iter(TASKS.values()))
    labels = list(task.labels)
    half = (len(labels) + 1) // 2
    asked = [*labels[:half:6], *labels[half::6], "snowman"]  # some tuned, some never seen in tuning
    pictograms, colours = task.labels[asked[0]]
    picture = io.BytesIO()
    render(Scene(pictograms[0], colours[0], task.style, seed=7)).save(picture, "PNG")
    (draft / "question.png").write_bytes(picture.getvalue())
    with running_service(draft / "artifact", draft / "index", draft / "service.log") as url:
        files = {"image": ("question.png", picture.getvalue(), "image/png")}
        response = httpx.post(
            f"{url}/v1/classify", files=files, data={"labels": json.dumps(asked), "top_k": "5"}, timeout=60
        )
        response.raise_for_status()
        metrics = _candor_metrics(httpx.get(f"{url}/metrics", timeout=60).text)
    console.print(f"a picture of a {asked[0]}, among {len(asked)} labels:")
    console.print_json(response.text)
    for name, value in metrics.items():
        if name.startswith(("candor_predictions_total", "candor_confidence_sum", "candor_confidence_count")):
            console.print(f"{name} {value:g}", markup=False, highlight=False)
    return {"response": response.json(), "metrics": metrics}


def _candor_metrics(text: str) -> dict[str, float]:
    """Our own samples of an exposition, `name{labels}` -> value."""
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("candor_"))
    return {name: float(value) for name, value in samples}


def _write_summary(path: Path, methods: dict[str, Any], service: dict[str, Any], results: list[EvaluatedRun]) -> None:
    runs = [
        {"dataset": run.dataset, "method": run.method, "seed": run.seed}
        | {scope: json_figures(r.figures()) for scope, r in run.scopes.items()}
        for run in results
    ]
    document = {"methods": methods, "service": service, "runs": runs, "cores": os.cpu_count()}
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
