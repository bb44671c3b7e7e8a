"""`zoo cache`: list, verify and remove files on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from layerzoo.cli import candidates
from layerzoo.cli.messages import say
from layerzoo.cli.names import named_model
from layerzoo.cli.output import Format, PrintedRow, format_option, print_rows, size
from layerzoo.errors import UsageError
from layerzoo.paths import cache_dir
from layerzoo.registry.lookup import registry
from layerzoo.stopping import what_is_kept

if TYPE_CHECKING:
    from layerzoo.weights.inventory import Inventory, Item
    from layerzoo.weights.removal import Choice, Removed
    from layerzoo.weights.verdicts import Verdict

_LIST_COLUMNS = ("name", "kind", "bytes", "share", "used", "models", "revision", "of no use", "path")
_VERIFY_COLUMNS = ("name", "kind", "state", "detail", "models", "revision", "path")
_PRUNE_COLUMNS = ("name", "kind", "state", "bytes", "reason", "models", "revision", "path")
_KEYS = ("kind", "name", "revision", "bytes", "of_bytes", "share", "whole", "models", "useless", "digest", "path",
         "used")  # fmt: skip
_JSON_SHAPE = (
    f"json and jsonl have, for each entry, the keys {', '.join(_KEYS)}. An unknown value is null; ids are paths."
)


@click.group("cache")
def group() -> None:
    """List, verify and remove the files that layerzoo keeps on this machine."""


@group.command("list", epilog=_JSON_SHAPE)
@format_option(piped="ids")
def list_command(format_: Format) -> None:
    """List the files, the share of each that is on this machine, and the models that use it.

    \b
    hub         a file in huggingface_hub's cache, which other programs share
    download    a file that was downloaded in parts, or from a URL
    converted   a checkpoint made from a pickle
    scratch     a temporary file, possibly of a killed process
    features    features of samples, of extractions with --cache
    traces, catalogues, identified, listings, index, digests
                results that can be computed again

    Of a partly downloaded file, only the present bytes count. No connection is opened.
    """
    inventory = _inventory(())
    print_rows((_listed(item) for item in inventory.items), format_, _LIST_COLUMNS)
    say(_total(inventory))


@group.command("verify")
@click.argument("models", nargs=-1, metavar="[MODEL]…", shell_complete=candidates.models)
@format_option(piped="json")
@click.pass_context
def verify_command(ctx: click.Context, models: Sequence[str], format_: Format) -> None:
    """Read every weights file again, and compare its digest with the expected one.

    Without MODEL: all files. Exits with 1 when a file is damaged or has drifted. json has the keys of `zoo cache
    list`, state and detail. The states are:

    \b
    ok        equal to the repository, the URL, the declaration and the lock
    damaged   changed since the download, or not readable
    drifted   intact, but different from the declaration or the lock
    partial   not completely downloaded, so that no digest can be compared
    gone      used by a model, but missing; `zoo pull` downloads it
    """
    from layerzoo.weights.verdicts import verdicts

    results = list(verdicts(_inventory(models)))
    print_rows(map(_verified, results), format_, _VERIFY_COLUMNS)
    say(_summary(results))
    for advice in _advice(results):
        say(advice)
    ctx.exit(1 if any(verdict.state in ("damaged", "drifted") for verdict in results) else 0)


@group.command("prune")
@click.argument("models", nargs=-1, metavar="[MODEL]…", shell_complete=candidates.models)
@click.option("--damaged", is_flag=True, help="Remove the files that `zoo cache verify` reports as damaged.")
@click.option("--features", is_flag=True, help="Remove the cached features of samples.")
@click.option("--all", "everything", is_flag=True, help="Remove all files that layerzoo keeps.")
@click.option("--hub", is_flag=True, help="Also remove from huggingface_hub's cache, which other programs share.")
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Only files that were not used for DAYS."
)
@click.option("--dry-run", is_flag=True, help="Remove nothing; list the files that would be removed.")
@format_option(piped="json")
@click.pass_context
def prune_command(
    ctx: click.Context,
    models: Sequence[str],
    damaged: bool,
    features: bool,
    everything: bool,
    hub: bool,
    older_than: float | None,
    dry_run: bool,
    format_: Format,
) -> None:
    """Remove unused files, or selected ones.

    Unused files are temporary files of killed processes, downloads and converted checkpoints that no installed model
    uses, and partial downloads of files that are also complete. MODEL selects the files of a model, --damaged damaged
    files, --features the cached features of samples, --all all files. Files that another process is writing are never
    removed.

    Files in huggingface_hub's cache are removed only with --hub, one revision at a time, even if another program
    downloaded them; damaged files one by one.

    Exits with 1 when a file could not be removed. json has the keys of `zoo cache list`, state (removed, would be
    removed, gone, in use, failed), reason, freed (bytes) and detail.

    \b
    Examples:
      zoo cache prune --dry-run
      zoo cache prune mine/bert --hub
      zoo cache prune --all --older-than 90
    """
    from layerzoo.weights.removal import removals, remove

    _check_choice(models, damaged=damaged, everything=everything, hub=hub)
    if features and (models or damaged or everything or hub):
        raise UsageError("--features removes cached features only: omit MODEL, --damaged, --all and --hub")
    inventory = _inventory(models)
    if features:
        inventory = replace(inventory, items=[item for item in inventory.items if item.kind == "features"])
    choice: Choice = "damaged" if damaged else "all" if everything or features or models else "useless"
    selected = removals(inventory, choice, hub=hub, unused_days=older_than)
    removed: list[Removed] = []
    with what_is_kept(lambda: f" after {len(removed)} of {_counted(len(selected))}; the others are unchanged"):
        removed += (remove(removal, dry_run=dry_run) for removal in selected)
    if removed or format_ != "table":
        print_rows(map(_pruned, removed), format_, _PRUNE_COLUMNS)
    say(_outcome(removed, inventory, dry_run=dry_run))
    if choice == "all" and not hub and (shared := [item for item in inventory.items if item.kind == "hub"]):
        message = f"Kept in huggingface_hub's cache: {_counted(len(shared))}, {size(_bytes(shared))}"
        say(f"{message}. To remove that for all programs: --hub")
    ctx.exit(1 if any(removal.state in ("in use", "failed") for removal in removed) else 0)


def _check_choice(models: Sequence[str], *, damaged: bool, everything: bool, hub: bool) -> None:
    if everything and (models or damaged):
        raise UsageError("--all removes everything: omit MODEL and --damaged, or omit --all")
    if hub and not (models or damaged or everything):
        raise UsageError("--hub removes files that other programs share: select files with MODEL, --damaged or --all")


def _inventory(models: Iterable[str]) -> Inventory:
    """Return the files on this machine; only those of some models where any are named."""
    from layerzoo.weights.inventory import Inventory

    ids = [named_model(model).id for model in models]
    inventory = Inventory.collect(registry())
    return inventory.of(ids) if ids else inventory


# ---------------------------------------------------------------- rows


def _listed(item: Item) -> PrintedRow:
    cells = (
        item.name,
        item.kind,
        size(item.bytes),
        _percent(item.share),
        _day(item.used),
        ", ".join(item.models) or None,
        _short(item.revision),
        item.useless,
        item.path,
    )
    return PrintedRow(str(item.path), lambda: _item_fields(item), cells)


def _verified(verdict: Verdict) -> PrintedRow:
    item = verdict.item
    fields = {"state": verdict.state, "detail": verdict.detail}
    cells = (
        item.name,
        item.kind,
        verdict.state,
        verdict.detail,
        ", ".join(item.models) or None,
        _short(item.revision),
        item.path,
    )
    return PrintedRow(str(item.path), lambda: _item_fields(item) | fields, cells)


def _pruned(removed: Removed) -> PrintedRow:
    item = removed.removal.item
    fields = {
        "state": removed.state,
        "reason": removed.removal.reason,
        "freed": removed.bytes,
        "detail": removed.detail,
    }
    cells = (
        item.name,
        item.kind,
        removed.state,
        size(removed.bytes),
        removed.detail or removed.removal.reason,
        ", ".join(item.models) or None,
        _short(item.revision),
        item.path,
    )
    return PrintedRow(str(item.path), lambda: _item_fields(item) | fields, cells)


def _item_fields(item: Item) -> dict[str, Any]:
    fields = {**asdict(item), "share": item.share, "used": _moment(item.used)}
    return {key: fields[key] for key in _KEYS} | {"models": list(item.models), "path": str(item.path)}


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


def _short(revision: str | None) -> str | None:
    """Return the first digits of a commit."""
    return None if revision is None else revision[:12]


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _day(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds).date().isoformat()


# ---------------------------------------------------------------- summaries


def _total(inventory: Inventory) -> str:
    if not inventory.items:
        return f"Nothing is kept in {_places(inventory)}"
    return f"{_counted(len(inventory.items))}, {size(inventory.bytes)} in {_places(inventory)}"


def _places(inventory: Inventory) -> str:
    """Return the folders of the files, in words."""
    if not any(item.kind == "hub" for item in inventory.items):
        return str(cache_dir())
    from layerzoo.weights.network import hub_cache

    return f"{cache_dir()} and {hub_cache()}"


def _outcome(removed: Sequence[Removed], inventory: Inventory, *, dry_run: bool) -> str:
    if not removed:
        return f"Nothing to remove in {_places(inventory)}"
    affected = [removal for removal in removed if removal.state in ("removed", "would be removed")]
    freed = f"{_counted(len(affected))}, {size(sum(removal.bytes for removal in affected))}"
    failures = sum(removal.state in ("in use", "failed") for removal in removed)
    stays = f"; {_counted(failures)} could not be removed" if failures else ""
    return f"{'Would remove' if dry_run else 'Removed'} {freed}{stays}"


def _counted(number: int) -> str:
    return "1 entry" if number == 1 else f"{number:,} entries"


def _bytes(items: Sequence[Item]) -> int:
    return sum({item.path.resolve(): item.bytes for item in items}.values())


def _summary(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return f"No weights are kept in {cache_dir()}. To download some: zoo pull MODEL"
    states = [verdict.state for verdict in verdicts]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))


def _advice(verdicts: Sequence[Verdict]) -> Iterable[str]:
    """Yield the next steps for damaged and drifted files."""
    damaged = [verdict.item for verdict in verdicts if verdict.state == "damaged"]
    drifted = [verdict.item for verdict in verdicts if verdict.state == "drifted"]
    if damaged:
        hub = " --hub" if any(item.kind == "hub" for item in damaged) else ""
        models = _models(damaged)
        yield f"Next: zoo cache prune --damaged{hub}{f', then zoo pull {models}' if models else ''}"
    if drifted:
        yield f"Next, if the change is intended: zoo lock --update {_models(drifted)}"


def _models(items: Iterable[Item]) -> str:
    return " ".join(sorted({model for item in items for model in item.models}))
