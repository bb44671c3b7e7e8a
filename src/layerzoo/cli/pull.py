"""`zoo pull`: download the weights of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from layerzoo.cli import candidates
from layerzoo.cli.braces import expanded_by_shell
from layerzoo.cli.messages import say
from layerzoo.cli.names import find_model, known_layers
from layerzoo.cli.output import Format, PrintedRow, counted, format_option, print_rows, size
from layerzoo.cli.progress import CommandProgress, command_progress
from layerzoo.errors import UsageError
from layerzoo.lock import Lock
from layerzoo.spec import ModelSpec
from layerzoo.stopping import what_is_kept

if TYPE_CHECKING:
    from layerzoo.weights import Files
    from layerzoo.weights.repository import Extent

_COLUMNS = ("model", "revision", "files", "bytes", "fetched")


@click.command("pull")
@click.argument("models", nargs=-1, required=True, metavar="MODEL…", shell_complete=candidates.models)
@click.option("--layer", "layers", multiple=True, metavar="L", help="A layer or selector, with --partial.")
@click.option("--partial", is_flag=True, help="Download only the part of the checkpoint that the layer requires.")
@click.option("--no-lock", is_flag=True, help="Do not write the commit and the digests to layerzoo.lock.")
@format_option(piped="json")
def command(models: tuple[str, ...], layers: tuple[str, ...], partial: bool, no_lock: bool, format_: Format) -> None:
    """Download the weights of models, for use without a connection.

    Files on this machine are not downloaded again, and an interrupted download is resumed. The first pull of a model
    writes its commit, if it has one, and the sha256 of its files to layerzoo.lock (see: zoo lock).

    json has the keys model, revision, files (path by name), bytes (on this machine) and fetched (bytes downloaded now).

    \b
    zoo pull mine/bert
    zoo pull mine/bert --layer block.5 --partial
    """
    if partial != bool(layers):
        raise UsageError(
            "--partial requires --layer, and --layer requires --partial. Next: give both, or neither for whole files"
        )
    if layers and (message := expanded_by_shell("--layer", layers, models, known_layers(models[0]))):
        raise UsageError(message)
    specs = [find_model(model) for model in models]
    pulled: list[tuple[Files, PrintedRow]] = []
    with what_is_kept(lambda: _describe_interrupted(len(pulled), len(specs), is_locking=not no_lock)):
        pulled += (_pulled(spec, list(layers), not no_lock) for spec in specs)
        if not no_lock:
            _lock({spec: files for spec, (files, _) in zip(specs, pulled, strict=True)})
    print_rows([row for _, row in pulled], format_, _COLUMNS)


def _describe_interrupted(done: int, of: int, *, is_locking: bool) -> str:
    """Describe the work of an interrupted pull."""
    progress = f" after {done} of {counted(of, 'model')}; " if of > 1 else "; "
    lock = ", and layerzoo.lock is unchanged" if is_locking and done < of else ""
    return f"{progress}downloaded parts are kept{lock}. The same command resumes"


def _pulled(spec: ModelSpec, layers: list[str], is_locking: bool) -> tuple[Files, PrintedRow]:
    from layerzoo.weights import resolve

    with _meter(spec.id) as meter:
        if layers:
            from layerzoo.runtime import pull

            pull(spec, layer=layers, progress=meter)
        extent: Extent = "partial" if layers else "whole"
        pins = is_locking and spec.id not in Lock.read().models
        files = resolve(spec.weights, model=spec.id, extent=extent, progress=meter, pins=pins)
    local_bytes = sum(
        files.partial[name].here_bytes if name in files.partial else files[name].stat().st_size for name in files
    )
    revision = files.origin.revision if files.origin else None
    fields = {
        "model": spec.id,
        "revision": revision,
        "files": {name: str(files[name]) for name in files},
        "bytes": local_bytes,
        "fetched": meter.fetched,
    }
    return files, PrintedRow(
        spec.id, lambda: fields, (spec.id, revision, len(files), size(local_bytes), size(meter.fetched))
    )


def _lock(pulled: Mapping[ModelSpec, Files]) -> None:
    """Lock the weights of pulled models that can be locked and are not locked yet."""
    from layerzoo.weights.locking import can_be_locked, change_lock, lock_model

    locked = Lock.read().models
    added = {
        spec.id: lock_model(spec, files.origin.revision if files.origin else None)
        for spec, files in pulled.items()
        if spec.id not in locked and can_be_locked(spec)
    }
    if added:
        lock = change_lock(lambda lock: lock.with_models(added))
        say(f"Locked in {lock.path}: {', '.join(added)}")
        for spec in pulled:
            if spec.id in added and spec.weights and spec.weights.lock:
                digests = ", ".join(f"{name} {file.sha256}" for name, file in added[spec.id].files.items())
                say(f"{spec.id}: its publisher states no sha256. From now on only this file is opened: {digests}")


class _DownloadMeter:
    """Count downloaded bytes, and show them."""

    def __init__(self, model: str, progress: CommandProgress) -> None:
        self._model = model
        self._progress = progress
        self.fetched = 0

    def expect(self, name: str, count: int) -> None:
        """Add the expected number of bytes of a file."""
        self._progress.total = (self._progress.total or 0) + count

    def __call__(self, name: str, count: int) -> None:
        self.fetched += count
        self._progress.label = f"{self._model} {name}"
        self._progress.update(count)


@contextmanager
def _meter(model: str) -> Iterator[_DownloadMeter]:
    with command_progress(model, size) as progress:
        yield _DownloadMeter(model, progress)
