"""`candor keys`: the files of keys that the service reads: API keys, and those that receipts are signed with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from candor.errors import InvalidInput
from candor.files import write_whole
from cli.console import errors, one_line_errors
from service.feedback.receipt_keys import ReceiptKey, ReceiptKeySet, read_receipt_keys, write_receipt_keys
from service.guard.access import Role
from service.guard.keys import KeySet, NamedKey, digest, new_key, read_keys, write_keys

OWNER_ONLY = 0o600

app = typer.Typer(no_args_is_help=True, help="Keys of the service. A running service takes changes over by itself.")

KeysFile = Annotated[Path, typer.Option("--file", envvar="CANDOR_KEYS", dir_okay=False, help="file of keys")]
Name = Annotated[str, typer.Argument(help="letters, digits, '.', '_' and '-'; stands in logs")]


@app.command()
@one_line_errors
def add(
    name: Name,
    file: KeysFile,
    role: Annotated[Role, typer.Option(help="admin may do all, metrics may read its figures, api the rest")] = "api",
) -> None:
    """Make a key and print it, once: the file holds only its hash.

    Example: candor keys add phone-app --file keys.json
    """
    kept, key = _load(file, new=True), new_key()
    if any(name == other.name for other in kept.keys):
        raise InvalidInput(f"{file} holds a key {name!r} already; remove it first, or choose another name")
    try:
        named = NamedKey(name=name, role=role, sha256=digest(key.encode()))
    except ValidationError:
        raise InvalidInput(f"{name[:80]!r} is no name of a key: 1 to 64 letters, digits, '.', '_' and '-'") from None
    _save(file, write_keys(KeySet(keys=(*kept.keys, named))))
    errors.print(f"{role} key {name}, kept as a hash in {file}; this is the only time it is shown:", soft_wrap=True)
    typer.echo(key)


@app.command("list")
@one_line_errors
def list_(file: KeysFile) -> None:
    """Print the name, the role and the beginning of the hash of each key."""
    for key in _load(file).keys:
        typer.echo(f"{key.name}\t{key.role}\t{key.sha256[:12]}")


@app.command()
@one_line_errors
def remove(name: Name, file: KeysFile) -> None:
    """Take a key away. Where it was the last one, a running service lets nobody in."""
    kept = _load(file)
    left = tuple(key for key in kept.keys if key.name != name)
    if len(left) == len(kept.keys):
        names = ", ".join(key.name for key in kept.keys) or "none"
        raise InvalidInput(f"{file} holds no key {name[:80]!r}; there are: {names}")
    _save(file, write_keys(KeySet(keys=left)))
    errors.print(f"removed {name}", soft_wrap=True)


@app.command("rotate-receipts")
@one_line_errors
def rotate_receipts(
    file: Annotated[
        Path,
        typer.Option(envvar="CANDOR_RECEIPT_KEYS", dir_okay=False, help="file of receipt keys; made where it is missing"),
    ],
    days: Annotated[
        float, typer.Option(envvar="CANDOR_RECEIPT_DAYS", min=0, max=36_500, help="for which the service takes a receipt")
    ] = 30,
    keep: Annotated[
        int | None, typer.Option(min=1, help="keys at most, the new one among them; 1 forgets all others")
    ] = None,
) -> None:
    """Make a new key that signs prediction_ids from now on. Old ones stay valid, and go when their receipts have expired.

    Example: candor keys rotate-receipts --file receipt_keys.json
    """
    text = _read(file, new=True)
    try:
        kept = read_receipt_keys(text) if text is not None else None
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from None
    keys = kept.rotated(timedelta(days=days), keep) if kept else ReceiptKeySet(keys=(ReceiptKey(),))
    _save(file, write_receipt_keys(keys))
    dropped = len(kept.keys) + 1 - len(keys.keys) if kept else 0
    errors.print(f"{file} holds {len(keys.keys)} keys now: a new one, and {dropped} old ones dropped", soft_wrap=True)


def _load(file: Path, new: bool = False) -> KeySet:
    """The keys of a file; none where `new` and the file is not there."""
    text = _read(file, new)
    try:
        return KeySet(keys=()) if text is None else read_keys(text)
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from None


def _read(file: Path, new: bool) -> str | None:
    """The text of a file; None where `new` and the file is not there."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if new:
            return None
        raise InvalidInput(f"there is no file {file}; make one: candor keys add NAME --file {file}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{file}: not a file of keys") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from error


def _save(file: Path, text: str) -> None:
    try:
        write_whole(file, text, OWNER_ONLY)
    except OSError as error:
        raise InvalidInput(f"cannot write {file}: {error.strerror}") from error
