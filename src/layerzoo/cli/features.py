"""`zoo features`: check feature files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from layerzoo.cli import candidates
from layerzoo.cli.messages import say
from layerzoo.cli.output import Format, PrintedRow, format_option, print_rows
from layerzoo.errors import InputError, UsageError
from layerzoo.printable import printable

_COLUMNS = ("file", "state", "detail")
State = Literal["ok", "no digests", "damaged", "missing"]


@click.group("features")
def group() -> None:
    """Check feature files."""


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The result of checking one file."""

    path: Path
    state: State
    detail: str | None = None


@group.command("verify")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", shell_complete=candidates.files)
@format_option(piped="json")
@click.pass_context
def verify_command(ctx: click.Context, files: Sequence[str], format_: Format) -> None:
    """Check feature files for damage.

    Ids, values and metadata are compared with the digests in the file. Exits with 1 when a file is
    damaged or missing. json has the keys file, state and detail. The states are:

    \b
    ok          unchanged since it was written
    no digests  .csv, .npy, or written by another program or an earlier version
    damaged     changed since it was written, or not readable
    missing     there is no such file

    \b
    Example:
      zoo features verify features.parquet old/*.npz
    """
    from layerzoo.features.formats import format_of

    paths = [Path(name) for name in files]
    for path in paths:
        format_of(path)
    found: list[FileCheck] = []
    print_rows(map(_row, _collected(paths, found)), format_, _COLUMNS)
    states = [verdict.state for verdict in found]
    say(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states))))
    ctx.exit(1 if {"damaged", "missing"} & set(states) else 0)


def _collected(paths: Sequence[Path], found: list[FileCheck]) -> Iterator[FileCheck]:
    """Verify one file after the other; keep and yield each verdict."""
    for path in paths:
        found.append(verdict_on(path))
        yield found[-1]


def verdict_on(path: Path) -> FileCheck:
    """Read a feature file, and compare all digests. Raises: UsageError for an unknown suffix."""
    from layerzoo.features.formats import format_of, is_of_layerzoo, verify

    if not path.is_file():
        return FileCheck(path, "missing", "it is not a file" if path.exists() else None)
    if not format_of(path).is_complete:
        return FileCheck(path, "no digests", f"{path.suffix.lower()} files have none")
    try:
        if not is_of_layerzoo(path):
            return FileCheck(path, "no digests", "it was not written by layerzoo")
        has_digests = verify(path)
    except UsageError as error:
        if not isinstance(error, InputError):
            raise
        return FileCheck(path, "damaged", printable(str(error.__cause__ or error)))
    if not has_digests:
        return FileCheck(path, "no digests", "it was written by an earlier version of layerzoo")
    return FileCheck(path, "ok")


def _row(verdict: FileCheck) -> PrintedRow:
    plain = {"file": str(verdict.path), "state": verdict.state, "detail": verdict.detail}
    return PrintedRow(str(verdict.path), lambda: plain, (verdict.path, verdict.state, verdict.detail))
