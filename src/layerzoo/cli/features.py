"""`zoo features`: files of features."""

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
    """Check files of features."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one file."""

    path: Path
    state: State
    detail: str | None = None


@group.command("verify")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", shell_complete=candidates.files)
@format_option(piped="json")
@click.pass_context
def verify_command(ctx: click.Context, files: Sequence[str], format_: Format) -> None:
    """Check files of features for damage.

    Ids, numbers and metadata are compared with the digests that were written with them. Exits with 1 when a file is
    damaged or missing. json has the keys file, state and detail. The states are:

    \b
    ok          as it was written
    no digests  of another program, or of an earlier version of layerzoo
    damaged     not as it was written, or not readable
    missing     there is no such file

    \b
    Example:
      zoo features verify features.parquet old/*.npz
    """
    from layerzoo.features.formats import format_of

    paths = [Path(name) for name in files]
    for path in paths:
        format_of(path)
    found: list[Verdict] = []
    print_rows(map(_row, _collected(paths, found)), format_, _COLUMNS)
    states = [verdict.state for verdict in found]
    say(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states))))
    ctx.exit(1 if {"damaged", "missing"} & set(states) else 0)


def _collected(paths: Sequence[Path], found: list[Verdict]) -> Iterator[Verdict]:
    """Verify one file after the other; keep and yield each verdict."""
    for path in paths:
        found.append(verdict_on(path))
        yield found[-1]


def verdict_on(path: Path) -> Verdict:
    """Read all of a file of features, and check everything in it. Raises: UsageError for an unknown suffix."""
    from layerzoo.features.formats import is_of_layerzoo, verify

    if not path.is_file():
        return Verdict(path, "missing", "it is no file" if path.exists() else None)
    try:
        if not is_of_layerzoo(path):
            return Verdict(path, "no digests", "it was not written by layerzoo")
        has_digests = verify(path)
    except UsageError as error:
        if not isinstance(error, InputError):
            raise
        return Verdict(path, "damaged", printable(str(error.__cause__ or error)))
    if not has_digests:
        return Verdict(path, "no digests", "it was written by an earlier version of layerzoo")
    return Verdict(path, "ok")


def _row(verdict: Verdict) -> PrintedRow:
    plain = {"file": str(verdict.path), "state": verdict.state, "detail": verdict.detail}
    return PrintedRow(str(verdict.path), lambda: plain, (verdict.path, verdict.state, verdict.detail))
