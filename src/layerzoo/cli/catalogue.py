"""`zoo catalogue`: build and check the generated list of a plugin's models."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from layerzoo.cli import candidates
from layerzoo.cli.messages import say
from layerzoo.cli.output import counted, print_lines, size
from layerzoo.cli.progress import command_progress
from layerzoo.disk import atomic_path, scratch_path
from layerzoo.errors import NotFoundError, OutputError, nearest, nearest_hint
from layerzoo.paths import ledger_path
from layerzoo.registry.lookup import registry
from layerzoo.stopping import what_is_kept

if TYPE_CHECKING:
    from layerzoo.runtime.catalogue import Traced

_only = click.option(
    "--only", multiple=True, metavar="PATTERN", help="Only architectures that match, as in 'vit_*'. Repeatable."
)
_jobs = click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="The number of parallel processes.",
)
_seconds = click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    metavar="S",
    help="The time limit for one architecture.",
)


@click.group("catalogue")
def group() -> None:
    """Build and check the catalogue of a plugin.

    A catalogue lists every model of the plugin's library, with the layers and costs that tracing found.
    """


@group.command("build")
@click.argument("plugin", shell_complete=candidates.plugins)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    help="The output file. Default: the one that the plugin's registry.yaml names.",
)
@_only
@_jobs
@_seconds
@click.pass_context
def build_command(
    ctx: click.Context, plugin: str, out: str | None, only: Sequence[str], jobs: int, seconds: float
) -> None:
    """Trace every architecture of PLUGIN without data, and write the catalogue.

    Each result is saved at once, so that an interrupted run resumes. --only keeps the entries of other architectures.
    Exits with 1 when an architecture could not be traced; it is listed, and has no layers in the catalogue.

    \b
    Examples:
      zoo catalogue build timm
      zoo catalogue build timm --only 'nest_*'
    """
    from layerzoo.runtime.catalogue import architectures, catalogue_path, catalogue_text, shipped_models

    namespace = registry().plugin(plugin).namespace
    everything = architectures(namespace)
    names = _matching_names(everything, only, namespace)
    unchanged = list(shipped_models(namespace, [name for name in everything if name not in names])) if only else []
    target = Path(out).absolute() if out else catalogue_path(namespace)
    with _told_if_unwritable(target), scratch_path(target.parent) as probe:  # fail before the long work
        probe.touch()
    traced = _traced(namespace, names, jobs, seconds)
    text = catalogue_text(namespace, [*unchanged, *traced])
    with _told_if_unwritable(target), atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    models = sum(map(len, (*unchanged, *traced)))
    say(f"{target}: {counted(models, 'model')}, {size(len(text.encode()))}")
    ctx.exit(1 if _report_failures(traced) else 0)


@group.command("check")
@click.argument("plugin", shell_complete=candidates.plugins)
@_only
@_jobs
@_seconds
@click.pass_context
def check_command(ctx: click.Context, plugin: str, only: Sequence[str], jobs: int, seconds: float) -> None:
    """Trace again, and compare with the catalogue of PLUGIN. Exits with 1 when they differ.

    \b
    Example:
      zoo catalogue check timm --only 'resnet18*' --only vit_tiny_patch16_224
    """
    from layerzoo.runtime.catalogue import architectures, differences, shipped_text

    namespace = registry().plugin(plugin).namespace
    names, shipped = _matching_names(architectures(namespace), only, namespace), shipped_text(namespace)
    traced = _traced(namespace, names, jobs, seconds, keep=False)
    changes = list(differences(namespace, traced, shipped))
    print_lines(changes)
    _report_failures(traced)
    say(f"{counted(len(names), 'architecture')}, {counted(len(changes), 'difference')}")
    ctx.exit(1 if changes else 0)


def _matching_names(names: Sequence[str], only: Sequence[str], namespace: str) -> list[str]:
    """Return the names that match a pattern, or all. Raises: NotFoundError for a pattern without a match."""
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in names):
            close = nearest(pattern, names)
            hint = f". {nearest_hint(close)}".removesuffix(". ")
            raise NotFoundError(f"{namespace} has no architecture '{pattern}'{hint}", asked=pattern, nearest=close)
    return [name for name in names if not only or any(fnmatchcase(name, pattern) for pattern in only)]


@contextmanager
def _told_if_unwritable(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}", path=target) from error


def _traced(namespace: str, names: Sequence[str], jobs: int, seconds: float, *, keep: bool = True) -> list[Traced]:
    from layerzoo.jobs.ledger import Ledger
    from layerzoo.runtime.catalogue import state_of, trace_architectures

    ledger = Ledger(ledger_path(namespace), state_of(namespace)) if keep else None
    results = []
    message = "; finished traces are kept, and the same command resumes" if keep else ""
    quantity = partial(counted, noun="architecture")
    with what_is_kept(lambda: message), command_progress(namespace, quantity, total=len(names)) as bar:
        for architecture, _ in trace_architectures(namespace, names, ledger, processes=jobs, seconds=seconds):
            results.append(architecture)
            bar.update(1)
    return results


def _report_failures(traced: Sequence[Traced]) -> int:
    failed = [row for rows in traced for row in rows if "failed" in row]
    for cause, count in Counter(row["failed"] for row in failed).most_common():
        say(f"{counted(count, 'model')} without layers: {cause}")
    return len(failed)
