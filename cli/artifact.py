"""`candor artifact`: artifacts in the BentoML model store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.console import console, one_line_errors

app = typer.Typer(no_args_is_help=True, help="What can be served: list it, keep it in the BentoML model store")

Json = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command()
@one_line_errors
def keep(
    path: Annotated[Path, typer.Argument(help="directory of an artifact (candor tune)")],
    as_json: Json = False,
) -> None:
    """Copy an artifact into the BentoML model store, under a tag that candor serve and /v1/artifacts take.

    Example: candor artifact keep runs/demo/artifact
    """
    from service.artifacts.bento_store import keep as keep_artifact  # imports BentoML: seconds that other commands save

    tag = keep_artifact(path)
    console.print_json(json.dumps({"tag": tag})) if as_json else console.print(f"{path} -> {tag}", markup=False)


@app.command(name="list")
@one_line_errors
def list_artifacts(
    folder: Annotated[Path | None, typer.Option(help="folder of artifacts; by default CANDOR_ARTIFACTS")] = None,
    as_json: Json = False,
) -> None:
    """List what candor serve can serve: artifacts of a folder, of the BentoML model store, and zero-shot.

    Example: candor artifact list --folder runs
    """
    from service.artifacts.catalogue import catalogue
    from service.settings import Settings

    settings = Settings() if folder is None else Settings(artifacts=folder)
    rows = [{"tag": e.tag, "source": e.source, "name": e.name, "problem": e.problem} for e in catalogue(settings)]
    if as_json:
        console.print_json(json.dumps(rows))
        return
    for row in rows:
        console.print(
            f"{row['tag'] or 'damaged'}  {row['source']}  {row['name']}  {row['problem'] or ''}".rstrip(), soft_wrap=True
        )
