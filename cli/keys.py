"""`candor keys`: the file of API keys that the service reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from candor.errors import InvalidInput
from candor.files import write_whole
from cli.console import errors, one_line_errors
from service.guard.access import Role
from service.guard.keys import KeySet, NamedKey, digest, new_key, read_keys, write_keys

OWNER_ONLY = 0o600

app = typer.Typer(no_args_is_help=True, help="API keys of the service. A running service takes changes over by itself.")

KeysFile = Annotated[Path, typer.Option("--file", envvar="CANDOR_KEYS", dir_okay=False, help="file of keys")]
Name = Annotated[str, typer.Argument(help="letters, digits, '.', '_' and '-'; stands in logs")]


@app.command()
@one_line_errors
def add(
    name: Name,
    file: KeysFile,
    role: Annotated[Role, typer.Option(help="admin may do all, metrics may read /metrics, api may do the rest")] = "api",
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
    _save(file, KeySet(keys=(*kept.keys, named)))
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
    _save(file, KeySet(keys=left))
    errors.print(f"removed {name}", soft_wrap=True)


def _load(file: Path, new: bool = False) -> KeySet:
    """The keys of a file; none where `new` and the file is not there."""
    try:
        return read_keys(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if new:
            return KeySet(keys=())
        raise InvalidInput(f"there is no file {file}; make one: candor keys add NAME --file {file}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{file}: not a file of keys") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from error
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from None


def _save(file: Path, keys: KeySet) -> None:
    try:
        write_whole(file, write_keys(keys), OWNER_ONLY)
    except OSError as error:
        raise InvalidInput(f"cannot write {file}: {error.strerror}") from error
