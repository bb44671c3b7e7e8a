"""`zoo features`: check and export features."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from layerzoo.cli import candidates
from layerzoo.cli.choice import WordChoice
from layerzoo.cli.messages import say
from layerzoo.cli.output import Format, PrintedRow, counted, format_option, print_rows
from layerzoo.errors import InputError, UsageError
from layerzoo.printable import printable

_COLUMNS = ("file", "state", "detail")
State = Literal["ok", "no digests", "damaged", "missing"]


@click.group("features")
def group() -> None:
    """Check and export features."""


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The result of checking one file."""

    path: Path
    state: State
    detail: str | None = None


@group.command("verify")
@click.argument("files", nargs=-1, required=True, metavar="FILE|DIR…", shell_complete=candidates.files)
@format_option(piped="json")
@click.pass_context
def verify_command(ctx: click.Context, files: Sequence[str], format_: Format) -> None:
    """Check feature files, and the folders of runs, for damage.

    Ids, values and metadata are compared with the digests in the file. Of the folder of a run, every part is checked:
    its rows against the manifest, its digests, and its fingerprint against run.json. Exits with 1 when a file is
    damaged or missing. json has the keys file, state and detail. The states are:

    \b
    ok          unchanged since it was written
    no digests  .csv, .npy, or written by another program or an earlier version
    damaged     changed since it was written, or not readable
    missing     there is no such file, or no part of a shard yet

    \b
    Example:
      zoo features verify features.parquet old/*.npz
      zoo features verify photos-run
    """
    from layerzoo.features.formats import SUFFIXES, format_of
    from layerzoo.features.part import shard_of
    from layerzoo.media import paths

    for name in files:
        if not _is_folder(name) and (paths.exists(name) or Path(name).suffix.lower() not in SUFFIXES):
            if not paths.exists(name):
                raise InputError(f"{name}: {paths.missing(name)}")
            format_of(Path(name))
    verdicts: list[FileCheck] = []
    print_rows(map(_row, _collected(files, verdicts)), format_, _COLUMNS)
    states = [verdict.state for verdict in verdicts]
    say(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states))))
    for folder in filter(_is_folder, files):
        damaged = [verdict.path for verdict in verdicts if verdict.state == "damaged"]
        if any(path.parent == Path(folder) and shard_of(path.name) is not None for path in damaged):
            quoted = printable(shlex.quote(folder))
            say(f"Next: remove the damaged parts, and zoo run --out {quoted} computes them again")
    ctx.exit(1 if {"damaged", "missing"} & set(states) else 0)


def _is_folder(name: str) -> bool:
    from layerzoo.weights.network.objects import is_url

    return is_url(name) or Path(name).is_dir()


def _collected(names: Sequence[str], verdicts: list[FileCheck]) -> Iterator[FileCheck]:
    """Verify one file after the other; keep and yield each verdict."""
    for name in names:
        for verdict in _verdicts(name):
            verdicts.append(verdict)
            yield verdict


def _verdicts(name: str) -> Iterator[FileCheck]:
    """Yield the verdict on a file, or on each file of a run. Raises: InputError for a folder without a run."""
    if not _is_folder(name):
        yield verdict_on(Path(name))
        return
    from layerzoo.runs.verification import verify

    for check in verify(name):
        yield FileCheck(Path(name, check.name), check.state, None if check.detail is None else printable(check.detail))


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
    fields = {"file": str(verdict.path), "state": verdict.state, "detail": verdict.detail}
    return PrintedRow(str(verdict.path), lambda: fields, (verdict.path, verdict.state, verdict.detail))


@group.command("export")
@click.argument("folder", metavar="DIR")
@click.option(
    "--to", "kind", required=True, type=WordChoice(["hf", "npy", "lance", "csv"]), help="The form of the copy."
)
@click.option("--out", required=True, metavar="PATH", help="The folder or file to write. It must not exist.")
def export_command(folder: str, kind: Literal["hf", "npy", "lance", "csv"], out: str) -> None:
    """Copy the features of a finished run for other programs.

    \b
    hf     the parts and a dataset card, for datasets.load_dataset and the hub
    npy    an array LAYER.npy for each layer, which can be mapped into memory,
           and ids.parquet with the ids and the times of its rows
    lance  a LanceDB database with the table features; dots in names become _
    csv    a file with a column for each number

    The windows of recordings have the columns start_s and end_s in every form.

    Samples that failed are left out, except from hf, where the column error has the reason.

    \b
    Example:
      zoo features export photos-run --to npy --out photos-arrays
    """
    from layerzoo.runs.export import export

    rows = export(folder, kind, out)
    say(f"{counted(rows, 'row')} of {folder} → {out}")
