"""`candor vocab outliers`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from candor.clip.templates import check_names
from candor.errors import InvalidInput
from candor.files import write_whole
from cli.console import console, one_line_errors
from cli.options import Device, Replace
from cli.vocab.words import Index, IndexWeights, load_index, word_table
from vocab_index.index import VocabularyIndex
from vocab_index.labels import label_features
from vocab_index.outliers import OutlierPool
from vocab_index.sources.overlap import OverlapFilter
from vocab_index.sources.words import load_words

NAMED = 10  # dropped words that the table names; --json has all
FILE_NAME = re.compile(r"[^,]*([/\\]|\.(txt|csv|tsv|jsonl|json|lst)$)[^,]*", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """A word of the pool, as it is shown.

    Attributes:
        word: of the vocabulary.
        similarity: mean cosine to the labels.
        nearest: the label that it is nearest to.
        nearest_similarity: its cosine to that label.
        metadata: what the vocabulary knows of it.
    """

    word: str
    similarity: float
    nearest: str
    nearest_similarity: float
    metadata: Mapping[str, Any]


@one_line_errors
def outliers(
    index: Index,
    labels: Annotated[str, typer.Option(help='base labels: "cat,dog,cow", or a file with one a line')],
    keep_out: Annotated[
        str | None,
        typer.Option(help="more names that no outlier may contain, such as the new labels; a list or a file"),
    ] = None,
    pool: Annotated[int, typer.Option(help="K, how many words are candidates")] = 5000,
    k: Annotated[int, typer.Option("--k", "-k", help="how many of them to show")] = 50,
    selection: Annotated[str, typer.Option(help="near (DOR's own), far or random (ablations)")] = "near",
    seed: Annotated[int, typer.Option(min=0, help="of a random selection")] = 0,
    pretrained: IndexWeights = None,
    device: Device = "cpu",
    out: Annotated[Path | None, typer.Option(help="CSV file for the whole pool")] = None,
    replace: Replace = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the pool, and all words left out, as JSON")] = False,
) -> None:
    """Show which outliers DOR would draw from, for a person to judge: are these words near the labels, and none of them?

    The pool is the K words of largest mean cosine to the labels, without those that contain a label's name. `candor tune`
    leaves out the new classes' names too (--keep-out), and takes the data set's template; here it is the index's own.

    Example: candor vocab outliers --index runs/wordnet --labels "cat,dog,cow" -k 20

    All of them, as a table: candor vocab outliers --index runs/wordnet --labels labels.txt --out outliers.csv
    """
    if k < 1:
        raise InvalidInput(f"--k must be at least 1, got {k}")
    if out is not None:
        _check_file(out, replace)
    base = check_names(_names(labels))
    others = _names(keep_out) if keep_out is not None else ()
    clip, vocabulary = load_index(index, pretrained, device)
    features = label_features(clip, vocabulary.templates, base)
    chosen = OutlierPool.select(selection, vocabulary, features, pool, (*base, *others), seed)
    nearest = (chosen.features @ features.T).max(dim=1)
    known = _metadata(vocabulary, chosen.words)
    candidates = [
        Candidate(word, similarity, base[label], cosine, metadata)
        for word, similarity, label, cosine, metadata in zip(
            chosen.words, chosen.similarity, nearest.indices.tolist(), nearest.values.tolist(), known, strict=True
        )
    ]
    dropped = _reasons(chosen.dropped, (*base, *others))
    if out is not None:
        try:
            write_whole(out, _csv(candidates))
        except OSError as error:
            raise InvalidInput(f"cannot write {out}: {error.strerror}") from error
    if as_json:
        console.print_json(json.dumps(_document(vocabulary, selection, base, candidates[:k], len(candidates), dropped)))
    else:
        _show(vocabulary, selection, base, candidates, dropped, k, out)


def _check_file(out: Path, replace: bool) -> None:
    """Fail before long work."""
    if out.is_dir() or any(parent.exists() and not parent.is_dir() for parent in out.parents):
        raise InvalidInput(f"cannot write {out}: it is a directory, or lies in a file")
    if out.exists() and not replace:
        raise InvalidInput(f"{out} exists already; choose another --out, or give --replace")


def _names(given: str) -> Sequence[str]:
    """Names from a file, or from the text itself.

    Raises:
        InvalidInput: what reads like a file's name is no file, or it holds no name.
    """
    try:
        is_file = Path(given).is_file()
    except (OSError, ValueError):  # longer than a file's name may be, or with a null byte
        is_file = False
    if is_file:
        return load_words(str(Path(given).absolute())).words
    if FILE_NAME.fullmatch(given):
        raise InvalidInput(f"no file {given!r}; labels are a file with one a line, or a list such as 'cat,dog,cow'")
    return [name for part in given.split(",") if (name := part.strip())]


def _metadata(vocabulary: VocabularyIndex, words: Sequence[str]) -> list[Mapping[str, Any]]:
    rows = {word: row for row, word in enumerate(vocabulary.words)}
    return [vocabulary.metadata(rows[word]) for word in words]


def _reasons(dropped: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Each word that was left out -> the first name that it contains."""
    filters = [(name, OverlapFilter([name])) for name in names]
    return {word: next(name for name, overlap in filters if overlap.overlaps(word)) for word in dropped}


def _csv(candidates: Sequence[Candidate]) -> str:
    extra = dict.fromkeys(key for candidate in candidates for key in candidate.metadata)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("word", "similarity", "nearest_label", "nearest_similarity", *extra))
    for c in candidates:
        known = (c.metadata.get(key, "") for key in extra)
        writer.writerow((c.word, f"{c.similarity:.6f}", c.nearest, f"{c.nearest_similarity:.6f}", *known))
    return text.getvalue()


def _document(
    vocabulary: VocabularyIndex,
    selection: str,
    labels: Sequence[str],
    shown: Sequence[Candidate],
    pool: int,
    dropped: Mapping[str, str],
) -> dict[str, Any]:
    return {
        "vocabulary": vocabulary.source,
        "words": len(vocabulary),
        "selection": selection,
        "labels": list(labels),
        "pool": pool,
        "shown": [asdict(candidate) for candidate in shown],
        "left_out": [{"word": word, "contains": name} for word, name in dropped.items()],
    }


def _show(
    vocabulary: VocabularyIndex,
    selection: str,
    labels: Sequence[str],
    candidates: Sequence[Candidate],
    dropped: Mapping[str, str],
    k: int,
    out: Path | None,
) -> None:
    rows = [
        ((c.word, f"{c.similarity:.3f}", f"{c.nearest} {c.nearest_similarity:.3f}"), c.metadata) for c in candidates[:k]
    ]
    title = f"{selection}: {len(candidates):,} of {len(vocabulary):,} words, by mean similarity to {len(labels)} labels"
    console.print(title, soft_wrap=True)
    console.print(word_table(rows, ("word", "similarity", "nearest label")))
    if len(candidates) > k:
        last = candidates[-1]
        console.print(f"... to {last.word!r}, {last.similarity:.3f}", soft_wrap=True)
    if dropped:
        named = ", ".join(f"{word!r} ({name})" for word, name in list(dropped.items())[:NAMED])
        more = f", and {len(dropped) - NAMED:,} more" if len(dropped) > NAMED else ""
        console.print(f"left out, since they contain a label: {named}{more}", soft_wrap=True)
    if out is not None:
        console.print(f"the whole pool -> {out}", soft_wrap=True)
