"""Options that several commands share, and what they load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import glyph_world
from candor.clip.backbone import Backbone, load_backbone
from candor.errors import InvalidInput
from candor.files import check_target
from glyph_world.vocabulary import phrases
from training.feature_cache import FeatureCache, default_cache_dir
from vocab_index.sources.filters import VISUAL, Filter
from vocab_index.sources.words import WordList, load_words

Model = Annotated[str, typer.Option(help="open_clip model, such as ViT-B-16-quickgelu, or the embedded glyph-clip")]
Pretrained = Annotated[
    str | None, typer.Option(help="weights: an open_clip tag such as openai, or a .safetensors file; glyph-clip needs none")
]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N")]
Root = Annotated[
    Path | None,
    typer.Option(help="folder of an imagefolder, or the one that holds all data sets (docs/datasets.md)"),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="leave unreadable images out, and name them")]
Cache = Annotated[
    bool,
    typer.Option(
        help="keep image features for the next run, by content (in $CANDOR_CACHE, else the user's cache folder); "
        "without: compute them all, and a new random view of each training image every epoch"
    ),
]
Sources = Annotated[
    list[str],
    typer.Option(
        "--source",
        help="wordnet (117,798 nouns), glyphs (the embedded world's phrases), or a file: text with a word a line, .csv, "
        ".tsv or .jsonl; give it again to merge several",
    ),
]
Categories = Annotated[
    str | None,
    typer.Option(
        "--category", help="keep only these categories of WordNet, or of a file's own column 'category': animal,plant"
    ),
]
Visual = Annotated[bool, typer.Option("--visual", help=f"keep what one can photograph: {', '.join(sorted(VISUAL))}")]
Instances = Annotated[bool, typer.Option("--instances/--no-instances", help="keep proper names, such as Paris")]
MaxWords = Annotated[int | None, typer.Option(help="keep entries of at most so many words: 1 keeps no phrases")]
Limit = Annotated[int | None, typer.Option(help="keep at most so many entries, evenly spread over the vocabulary")]
LabelColumn = Annotated[str, typer.Option(help="the column (.csv, .tsv) or key (.jsonl) that holds the words")]
Replace = Annotated[bool, typer.Option("--replace", help="replace --out if it is there")]


def backbone(model: str, pretrained: str | None, device: str = "cpu", precision: str = "fp32") -> Backbone:
    """A backbone by name, glyph-clip included."""
    glyph_world.register()
    return load_backbone(model, pretrained, device, precision)


def feature_cache(keep: bool) -> FeatureCache:
    """The user's cache of image features, or none."""
    return FeatureCache(default_cache_dir() if keep else None)


def word_list(
    sources: str | Sequence[str],
    *,
    categories: str | None = None,
    visual: bool = False,
    instances: bool = True,
    max_words: int | None = None,
    limit: int | None = None,
    label_column: str = "label",
) -> WordList:
    """A vocabulary as the options ask for it: `load_words`, which also knows "glyphs", the phrases of the embedded world.

    Raises:
        InvalidInput: a source that cannot be read, or options that do not fit it or each other.
    """
    if visual and categories is not None:
        raise InvalidInput("--visual is a list of categories itself; give --visual or --category, not both")
    named = (
        None
        if categories is None
        else frozenset(name for part in categories.split(",") if (name := part.strip().casefold()))
    )
    wanted = Filter(VISUAL if visual else named, instances, max_words, limit)
    return load_words(sources, wanted, label_column, {"glyphs": phrases()})


def default_config(model: str) -> str:
    """The recipe that fits a model."""
    return "glyphs" if model == glyph_world.MODEL_NAME else "paper"


def refuse_existing(path: Path, replace: bool, mark: str) -> None:
    """Fail before long work, not after it.

    Args:
        path: the directory that the command writes.
        replace: whether --replace was given.
        mark: a file that such a directory holds.

    Raises:
        InvalidInput: the path is there and is not to be replaced, or is nothing that `candor.files.check_target` lets
            a directory be written to.
    """
    check_target(path, replace=True, mark=mark)
    if path.exists() and not replace:
        raise InvalidInput(f"{path} exists already; choose another --out, or give --replace")
