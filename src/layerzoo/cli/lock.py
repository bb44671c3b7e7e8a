"""`zoo lock`: keep the weights of models as they are now."""

from __future__ import annotations

from collections.abc import Iterable

import click

from layerzoo.cli import candidates
from layerzoo.cli.messages import say
from layerzoo.cli.names import find_model
from layerzoo.cli.output import Format, PrintedRow, format_option, print_rows
from layerzoo.errors import NotFoundError, UnknownModelError, UsageError
from layerzoo.lock import Lock, LockedModel
from layerzoo.registry import Registry, registry
from layerzoo.spec import ModelSpec

_GONE = "no registry has it any more. Next: zoo lock --remove"
_COLUMNS = ("model", "state", "revision", "files", "detail")
_SHOWN_DIGITS = 12


@click.command("lock")
@click.argument("models", nargs=-1, metavar="[MODEL]…", shell_complete=candidates.models)
@click.option("--check", is_flag=True, help="Change nothing; tell what is not as it was locked, and exit with 1.")
@click.option("--update", is_flag=True, help="Lock the models as they are now, also those that are locked already.")
@click.option("--remove", is_flag=True, help="Take the models out of the lock.")
@format_option(piped="json")
@click.pass_context
def command(
    ctx: click.Context, models: tuple[str, ...], check: bool, update: bool, remove: bool, format_: Format
) -> None:
    """Write down which commit and which files the weights of models are.

    Without MODEL: all that are locked, and your own models. The file is layerzoo.lock, beside the registry.yaml in the
    working directory or else in your configuration directory. Commit it: with it, a model means the same numbers
    tomorrow and elsewhere. Weights of an installed package or behind a link are pinned by their declaration.

    json has the keys model, state (locked, updated, unchanged, removed, drifted, not locked, unknown), revision, files
    and detail.

    \b
    zoo lock mine/shelf            keep its weights at the commit of today
    zoo lock --check               tell what has moved since, in CI
    zoo lock --update mine/shelf   move on to the commit of today
    """
    if check + update + remove > 1:
        raise UsageError("--check, --update and --remove exclude each other")
    if (update or remove) and not models:
        raise UsageError(f"name the models: zoo lock {'--update' if update else '--remove'} MODEL…")
    zoo, lock = registry(), Lock.read()
    if remove:
        rows = _removed(models, lock)
    else:
        specs, gone = _specs(models, zoo, lock)
        rows = _checked(specs, lock) if check else _locked(specs, lock, update=update)
        rows += [_row(name, "unknown", lock.models[name], f"{_GONE} {name}") for name in gone]
    print_rows(rows, format_, _COLUMNS if format_ != "table" else _COLUMNS[:-1])
    if format_ == "table":
        # Whole sentences with two commits in them: a column of a table has no room for those.
        for row in rows:
            if detail := row.plain()["detail"]:
                say(f"{row.id}: {detail}")
    count = len(Lock.read().models)
    say(f"{count} {'model is' if count == 1 else 'models are'} locked in {lock.path}")
    ctx.exit(1 if check and any(row.plain()["state"] != "unchanged" for row in rows) else 0)


def _specs(names: Iterable[str], zoo: Registry, lock: Lock) -> tuple[list[ModelSpec], list[str]]:
    """The models that are meant, and the names of those that are locked and known no more.

    Raises: NotFoundError where none is.
    """
    from layerzoo.weights.locking import can_be_locked

    if names:
        return [find_model(name) for name in names], []
    own = [spec for spec in zoo.models() if spec.plugin is None and can_be_locked(spec)]
    specs, gone = {spec.id: spec for spec in own}, []
    for name in lock.models:
        try:
            specs[name] = find_model(name)  # a repository may be locked that was never looked at on this machine
        except UnknownModelError:
            gone.append(name)
    if not specs and not gone:
        message = "there is nothing to lock: no model of your own has its weights on the hub. Name one: zoo lock MODEL"
        raise NotFoundError(message, asked="")
    return list(specs.values()), gone


def _locked(specs: list[ModelSpec], lock: Lock, *, update: bool) -> list[PrintedRow]:
    from layerzoo.weights.locking import can_be_locked, change_lock, lock_model

    rows, added = [], {}
    for spec in specs:
        before = lock.models.get(spec.id)
        if not can_be_locked(spec):
            rows.append(_row(spec.id, "unchanged", None, _pinned_otherwise(spec)))
            continue
        if before is not None and not update:
            rows.append(_row(spec.id, "unchanged", before, None))
            continue
        now = lock_model(spec)
        added[spec.id] = now
        state = "locked" if before is None else "unchanged" if before == now else "updated"
        moved = f"was {before.revision}" if before is not None and before != now else None
        rows.append(_row(spec.id, state, now, moved))
    if added:
        change_lock(lambda lock: lock.with_models(added))
    return rows


def _checked(specs: list[ModelSpec], lock: Lock) -> list[PrintedRow]:
    from layerzoo.weights.locking import can_be_locked, drifts

    rows = []
    for spec in specs:
        locked = lock.models.get(spec.id)
        if locked is None:
            state = "not locked" if can_be_locked(spec) else "unchanged"
            rows.append(_row(spec.id, state, None, f"zoo lock {spec.id}" if state == "not locked" else None))
            continue
        found = next(drifts(spec, locked), None)
        rows.append(_row(spec.id, "drifted" if found else "unchanged", locked, found.message if found else None))
    return rows


def _removed(models: Iterable[str], lock: Lock) -> list[PrintedRow]:
    from layerzoo.weights.locking import change_lock

    rows = []
    for model in models:
        if model not in lock.models:
            message = f"{model} is not locked in {lock.path}. Locked: {', '.join(lock.models) or 'nothing'}"
            raise NotFoundError(message, asked=model)
        rows.append(_row(model, "removed", lock.models[model], None))
    change_lock(lambda lock: lock.without(*models))
    return rows


def _pinned_otherwise(spec: ModelSpec) -> str:
    if spec.weights is None:
        return "it has no weights"
    local = spec.weights.source.startswith("file:")
    return "a local file, which stays yours to keep" if local else "pinned by the sha256 in its declaration"


def _row(model: str, state: str, locked: LockedModel | None, detail: str | None) -> PrintedRow:
    revision, files = (locked.revision, len(locked.files)) if locked else (None, None)
    facts = (model, state, revision, files, detail)
    shown = (model, state, revision and revision[:_SHOWN_DIGITS], files)
    return PrintedRow(model, lambda: dict(zip(_COLUMNS, facts, strict=True)), shown)
