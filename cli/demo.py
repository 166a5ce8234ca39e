"""`candor demo`: the whole loop on the embedded default."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from candor.clip.backbone import Backbone
from candor.clip.learners import LEARNERS
from candor.files import whole_directory
from cli.console import console, one_line_errors, progress_bar, show_progress
from cli.options import Replace, backbone, refuse_existing, word_list
from cli.server import running_service
from cli.tables import scope_table
from glyph_world.render import Scene, render
from glyph_world.tasks import TASKS, TEMPLATE
from training.compare import ZERO_SHOT, RunResult, compare, pooled_bins, summarise
from training.config import TrainConfig, load_config
from training.data import classnames_of
from training.datasets import load_dataset
from training.plots import reliability_diagrams
from training.run import write_artifact
from vocab_index.index import VocabularyIndex

METHODS = ("coop", "kgcoop", "coop+dor")
SEEDS = (1, 2, 3)
KEPT = "coop+dor"


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
    refuse_existing(out, replace)
    clip = backbone("glyph-clip", None)
    config = load_config("glyphs")
    with whole_directory(out, replace) as draft:
        console.rule("1. a vocabulary index")
        index = VocabularyIndex.build(clip, word_list("glyphs"), TEMPLATE, show_progress)
        index.save(draft / "index")
        console.print(f"{len(index)} phrases that glyph-clip knows")
        console.rule("2. three ways to tune a prompt")
        results = _compare(clip, index, config)
        methods = {method: summarise(results, method) for method in (ZERO_SHOT, *METHODS)}
        caption = f"percent, mean over {len(TASKS)} tasks ± std over {len(SEEDS)} seeds"
        console.print(scope_table(caption, methods, lambda c: f"{100 * c['mean']:.1f} ± {100 * c['std']:.1f}"))
        diagrams = {method: pooled_bins(results, method) for method in methods}
        title = "Reliability on the glyph world (embedded test model, not real CLIP weights)"
        reliability_diagrams(draft / "reliability.png", diagrams, title)
        _keep_artifact(draft / "artifact", clip, config, results)
        console.rule("3. the service")
        answer = _ask_service(draft)
        _write_summary(draft / "summary.json", methods, answer, results)
    console.print(f"artifact, index, reliability.png and summary.json are in {out}", markup=False)


def _compare(clip: Backbone, index: VocabularyIndex, config: TrainConfig) -> list[RunResult]:
    datasets = [f"glyphs/{task}" for task in TASKS]
    with progress_bar() as bar:
        task = bar.add_task("tune", total=len(datasets) * (1 + len(METHODS) * len(SEEDS)))
        return compare(
            clip, index, datasets, METHODS, SEEDS, config, lambda done: bar.update(task, advance=1, description=done)
        )


def _keep_artifact(path: Path, clip: Backbone, config: TrainConfig, results: list[RunResult]) -> None:
    """The DOR prompt of the first task and seed, as an artifact."""
    run = next(r for r in results if r.method == KEPT and r.ctx is not None)
    dataset = load_dataset(run.dataset)
    names = classnames_of(dataset, "base")
    learner = LEARNERS[config.learner.kind].create(config.learner, clip, names)
    learner.load_state_dict({"ctx": run.ctx}, strict=True)
    chosen = config.model_copy(update={"seed": run.seed})
    write_artifact(path, clip, learner, dataset, run.method, chosen, run.scopes)


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


def _write_summary(path: Path, methods: dict[str, Any], service: dict[str, Any], results: list[RunResult]) -> None:
    runs = [
        {"dataset": r.dataset, "method": r.method, "seed": r.seed, **{s: v.figures() for s, v in r.scopes.items()}}
        for r in results
    ]
    document = {"methods": methods, "service": service, "runs": runs, "cores": os.cpu_count()}
    path.write_text(json.dumps(document, indent=2) + "\n")
