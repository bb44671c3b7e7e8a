"""`zoo cache`: what is kept on this machine, whether it is sound, and what may go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from layerzoo.cli import candidates
from layerzoo.cli.messages import say
from layerzoo.cli.names import resolve_model_id
from layerzoo.cli.output import Format, PrintedRow, format_option, print_rows, size
from layerzoo.errors import UsageError
from layerzoo.paths import cache_dir
from layerzoo.registry.current import registry
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
_JSON_SHAPE = f"json and jsonl have of each thing {', '.join(_KEYS)}. What is not known is null; ids are paths."


@click.group("cache")
def group() -> None:
    """List, verify and remove what is kept on this machine."""


@group.command("list", epilog=_JSON_SHAPE)
@format_option(piped="ids")
def list_command(format_: Format) -> None:
    """List what is kept, how much of each file is here, and which models use it.

    \b
    hub         a file in huggingface_hub's cache, which other programs share
    download    a file that is fetched in parts, or came from a link
    converted   a checkpoint made from a pickle
    scratch     a file that is being written, or was when its process was killed
    traces, catalogues, identified, listings, index, digests
                what was found out, and can be found out again

    Of a file with holes, what is here counts. Nothing is fetched, and no connection is opened.
    """
    inventory = _inventory(())
    print_rows((_listed(item) for item in inventory.items), format_, _LIST_COLUMNS)
    say(_total(inventory))


@group.command("verify")
@click.argument("models", nargs=-1, metavar="[MODEL]…", shell_complete=candidates.models)
@format_option(piped="json")
@click.pass_context
def verify_command(ctx: click.Context, models: Sequence[str], format_: Format) -> None:
    """Read every file of weights again, and compare its digest with what it should be.

    Without MODEL: everything. Exits with 1 when something is damaged or has drifted. json has the keys of `zoo cache
    list`, state and detail. The states are:

    \b
    ok        as the repository, the link, the declaration and the lock say
    damaged   not what came, or not readable
    drifted   sound, and not what the declaration or the lock says
    partial   not all of it is here, so that there is no digest to compare
    gone      a model uses it, and it is not here; `zoo pull` brings it
    """
    from layerzoo.weights.verdicts import verdicts

    found = list(verdicts(_inventory(models)))
    print_rows(map(_verified, found), format_, _VERIFY_COLUMNS)
    say(_summary(found))
    for advice in _advice(found):
        say(advice)
    ctx.exit(1 if any(verdict.state in ("damaged", "drifted") for verdict in found) else 0)


@group.command("prune")
@click.argument("models", nargs=-1, metavar="[MODEL]…", shell_complete=candidates.models)
@click.option("--damaged", is_flag=True, help="What `zoo cache verify` finds damaged.")
@click.option("--all", "everything", is_flag=True, help="Everything that layerzoo keeps.")
@click.option("--hub", is_flag=True, help="Also in huggingface_hub's cache, which other programs share.")
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Only what was not used for so long.")
@click.option("--dry-run", is_flag=True, help="Remove nothing; tell what would be removed.")
@format_option(piped="json")
@click.pass_context
def prune_command(
    ctx: click.Context,
    models: Sequence[str],
    damaged: bool,
    everything: bool,
    hub: bool,
    older_than: float | None,
    dry_run: bool,
    format_: Format,
) -> None:
    """Remove what is of no use, or what is asked for.

    Without MODEL, --damaged or --all that is: files that a killed process left, downloads and converted checkpoints
    that no model can use which `zoo list` has here, and parts of files of which the whole is here too. With MODEL: what
    is that model's. What another process is writing stays.

    Files in huggingface_hub's cache stay without --hub. With it they go a revision at a time, whoever fetched them; of
    those that are damaged, each by itself.

    Exits with 1 when something could not be removed. json has the keys of `zoo cache list`, state (removed, would be
    removed, gone, in use, failed), reason, freed (bytes) and detail.

    \b
    Examples:
      zoo cache prune --dry-run
      zoo cache prune mine/shelf --hub
      zoo cache prune --all --older-than 90
    """
    from layerzoo.weights.removal import removals, remove

    _check_choice(models, damaged=damaged, everything=everything, hub=hub)
    inventory = _inventory(models)
    choice: Choice = "damaged" if damaged else "all" if everything or models else "useless"
    chosen = removals(inventory, choice, hub=hub, unused_days=older_than)
    done: list[Removed] = []
    with what_is_kept(lambda: f" after {len(done)} of {_counted(len(chosen))}; the others are unchanged"):
        done += (remove(each, dry_run=dry_run) for each in chosen)
    if done or format_ != "table":
        print_rows(map(_pruned, done), format_, _PRUNE_COLUMNS)
    say(_outcome(done, inventory, dry_run=dry_run))
    if choice == "all" and not hub and (shared := [item for item in inventory.items if item.kind == "hub"]):
        kept = f"Kept in huggingface_hub's cache: {_counted(len(shared))}, {size(_bytes(shared))}"
        say(f"{kept}. To remove that for all programs: --hub")
    ctx.exit(1 if any(each.state in ("in use", "failed") for each in done) else 0)


def _check_choice(models: Sequence[str], *, damaged: bool, everything: bool, hub: bool) -> None:
    if everything and (models or damaged):
        raise UsageError("--all removes everything: leave out MODEL and --damaged, or leave out --all")
    if hub and not (models or damaged or everything):
        raise UsageError("--hub removes files that other programs share: say which, with MODEL, --damaged or --all")


def _inventory(models: Iterable[str]) -> Inventory:
    """What is kept; of some models, as people call them, what is theirs."""
    from layerzoo.weights.inventory import Inventory

    ids = [resolve_model_id(model) for model in models]
    found = Inventory.taken(registry())
    return found.of(ids) if ids else found


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
    return PrintedRow(str(item.path), lambda: _plain(item), cells)


def _verified(verdict: Verdict) -> PrintedRow:
    item = verdict.item
    plain = {"state": verdict.state, "detail": verdict.detail}
    cells = (
        item.name,
        item.kind,
        verdict.state,
        verdict.detail,
        ", ".join(item.models) or None,
        _short(item.revision),
        item.path,
    )
    return PrintedRow(str(item.path), lambda: _plain(item) | plain, cells)


def _pruned(removed: Removed) -> PrintedRow:
    item = removed.removal.item
    plain = {
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
    return PrintedRow(str(item.path), lambda: _plain(item) | plain, cells)


def _plain(item: Item) -> dict[str, Any]:
    plain = {**asdict(item), "share": item.share, "used": _moment(item.used)}
    return {key: plain[key] for key in _KEYS} | {"models": list(item.models), "path": str(item.path)}


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


def _short(revision: str | None) -> str | None:
    """As much of a commit as people compare."""
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
    """The folders in which things are."""
    if not any(item.kind == "hub" for item in inventory.items):
        return str(cache_dir())
    from layerzoo.weights.network import hub_cache

    return f"{cache_dir()} and {hub_cache()}"


def _outcome(done: Sequence[Removed], inventory: Inventory, *, dry_run: bool) -> str:
    if not done:
        return f"Nothing to remove in {_places(inventory)}"
    gone = [each for each in done if each.state in ("removed", "would be removed")]
    freed = f"{_counted(len(gone))}, {size(sum(each.bytes for each in gone))}"
    left = sum(each.state in ("in use", "failed") for each in done)
    stays = f"; {_counted(left)} could not be removed" if left else ""
    return f"{'Would remove' if dry_run else 'Removed'} {freed}{stays}"


def _counted(number: int) -> str:
    return "1 entry" if number == 1 else f"{number:,} entries"


def _bytes(items: Sequence[Item]) -> int:
    return sum({item.path.resolve(): item.bytes for item in items}.values())


def _summary(found: Sequence[Verdict]) -> str:
    if not found:
        return f"No weights are kept in {cache_dir()}. To fetch some: zoo pull MODEL"
    states = [verdict.state for verdict in found]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))


def _advice(found: Sequence[Verdict]) -> Iterable[str]:
    """What to do next."""
    damaged = [verdict.item for verdict in found if verdict.state == "damaged"]
    drifted = [verdict.item for verdict in found if verdict.state == "drifted"]
    if damaged:
        hub = " --hub" if any(item.kind == "hub" for item in damaged) else ""
        models = _models(damaged)
        yield f"Next: zoo cache prune --damaged{hub}{f', then zoo pull {models}' if models else ''}"
    if drifted:
        yield f"Next, if the change is meant: zoo lock --update {_models(drifted)}"


def _models(items: Iterable[Item]) -> str:
    return " ".join(sorted({model for item in items for model in item.models}))
