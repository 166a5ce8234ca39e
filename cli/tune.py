"""`candor tune`: few-shot prompt tuning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from candor.errors import InvalidInput
from cli.console import console, one_line_errors, progress_bar, show_progress
from cli.options import Device, Model, Pretrained, Replace, backbone, refuse_existing
from cli.tables import scope_table
from training.config import load_config
from training.datasets import load_dataset
from training.methods import METHODS, method_weights
from training.run import evaluate_learner, evaluate_zero_shot, find_outliers, prepare, write_artifact
from training.run import tune as run_tuning
from vocab_index.index import VocabularyIndex


@one_line_errors
def tune(
    out: Annotated[Path, typer.Option(help="directory of the prompt artifact to write")],
    dataset: Annotated[str, typer.Option(help="data set, such as glyphs/cats-and-cows")] = "glyphs/cats-and-cows",
    method: Annotated[str, typer.Option(help=f"one of: {', '.join(METHODS)}")] = "coop+dor",
    index: Annotated[Path | None, typer.Option(help="vocabulary index for DOR's outliers (candor vocab build)")] = None,
    config: Annotated[str, typer.Option(help="recipe (glyphs, paper) or a YAML file of your own")] = "glyphs",
    model: Model = "glyph-clip",
    pretrained: Pretrained = None,
    device: Device = "cpu",
    seed: Annotated[int | None, typer.Option(help="of shots, start, order and outliers")] = None,
    shots: Annotated[int | None, typer.Option(help="training images a base class")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the shots")] = None,
    replace: Replace = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the evaluation as JSON")] = False,
) -> None:
    """Tune a prompt on 16 images of each base class and keep it as an artifact, with its evaluation on base and new.

    DOR holds the text features of outliers (words near the base classes) to their zero-shot place, so that tuning does not
    make the model over-confident on labels it never saw.

    Example: candor vocab build --source glyphs --out runs/index && candor tune --index runs/index --out runs/cats-and-cows
    """
    refuse_existing(out, replace)
    settings = load_config(config, {"seed": seed, "shots": shots, "epochs": epochs})
    uses_dor = "dor" in method_weights(method, settings.weights)
    if uses_dor and index is None:
        raise InvalidInput(f"method {method!r} draws outliers from a vocabulary: give --index (candor vocab build)")
    data = load_dataset(dataset)
    clip = backbone(model, pretrained, device)
    vocabulary = VocabularyIndex.load(index, clip) if index and uses_dor else None
    features = prepare(clip, data, show_progress)
    outliers = find_outliers(clip, vocabulary, data, features, settings) if vocabulary else None
    with progress_bar() as bar:
        task = bar.add_task(f"tune {method}", total=settings.epochs)
        learner = run_tuning(clip, data, features, method, settings, outliers, lambda *_: bar.advance(task))
    results = evaluate_learner(clip, learner, data, features)
    artifact = write_artifact(out, clip, learner, data, method, settings, results, replace)
    rows = {"zero-shot": evaluate_zero_shot(clip, features), method: results}
    figures = {name: {scope: r.figures() for scope, r in scopes.items()} for name, scopes in rows.items()}
    if as_json:
        console.print_json(json.dumps({"artifact": str(out), "tag": artifact.tag, "evaluation": figures}))
    else:
        console.print(scope_table(f"{dataset}, percent", figures, lambda value: f"{100 * value:.1f}"))
        console.print(f"{artifact.tag} -> {out}", markup=False)
