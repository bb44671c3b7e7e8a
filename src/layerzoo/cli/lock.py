"""`zoo lock`: pin the weights of models to commits and digests."""

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

_GONE = "no registry declares it. Next: zoo lock --remove"
_COLUMNS = ("model", "state", "revision", "files", "detail")
_SHOWN_DIGITS = 12


@click.command("lock")
@click.argument("models", nargs=-1, metavar="[MODEL]…", shell_complete=candidates.models)
@click.option(
    "--check", is_flag=True, help="Change nothing; list models that differ from the lock, and exit with 1 if any do."
)
@click.option("--update", is_flag=True, help="Lock the current state of the models, also of locked ones.")
@click.option("--remove", is_flag=True, help="Remove the models from the lock.")
@format_option(piped="json")
@click.pass_context
def command(
    ctx: click.Context, models: tuple[str, ...], check: bool, update: bool, remove: bool, format_: Format
) -> None:
    """Record the commit and the files of models' weights.

    Without MODEL: all locked models, and your own models. The file is layerzoo.lock, next to the registry.yaml in the
    working directory, or else in your configuration directory. Commit it to version control: it makes features
    reproducible on other machines. The declaration pins weights of installed packages and of URLs.

    json has the keys model, state (locked, updated, unchanged, removed, drifted, not locked, unknown), revision, files
    and detail.

    \b
    zoo lock mine/bert            pin its weights to the current commit
    zoo lock --check              list what has changed since, in CI
    zoo lock --update mine/bert   move to the current commit
    """
    if check + update + remove > 1:
        raise UsageError("--check, --update and --remove cannot be combined")
    if (update or remove) and not models:
        raise UsageError(f"name the models: zoo lock {'--update' if update else '--remove'} MODEL…")
    zoo, lock = registry(), Lock.read()
    if remove:
        rows = _removed(models, lock)
    else:
        specs, unknown = _specs(models, zoo, lock)
        rows = _checked(specs, lock) if check else _locked(specs, lock, update=update)
        rows += [_row(name, "unknown", lock.models[name], f"{_GONE} {name}") for name in unknown]
    print_rows(rows, format_, _COLUMNS if format_ != "table" else _COLUMNS[:-1])
    if format_ == "table":
        # Details are sentences with two commits: too long for a column of a table.
        for row in rows:
            if detail := row.to_dict()["detail"]:
                say(f"{row.id}: {detail}")
    count = len(Lock.read().models)
    say(f"{count} {'model is' if count == 1 else 'models are'} locked in {lock.path}")
    ctx.exit(1 if check and any(row.to_dict()["state"] != "unchanged" for row in rows) else 0)


def _specs(names: Iterable[str], zoo: Registry, lock: Lock) -> tuple[list[ModelSpec], list[str]]:
    """Return the named models, or all lockable ones, and the locked names that no registry declares.

    Raises: NotFoundError where there is no such model.
    """
    from layerzoo.weights.locking import can_be_locked

    if names:
        return [find_model(name) for name in names], []
    own = [spec for spec in zoo.models() if spec.plugin is None and can_be_locked(spec)]
    specs, unknown = {spec.id: spec for spec in own}, []
    for name in lock.models:
        try:
            specs[name] = find_model(name)  # a locked repository may be new to this machine
        except UnknownModelError:
            unknown.append(name)
    if not specs and not unknown:
        message = "there is nothing to lock: none of your own models has weights on the hub. Name one: zoo lock MODEL"
        raise NotFoundError(message, asked="")
    return list(specs.values()), unknown


def _locked(specs: list[ModelSpec], lock: Lock, *, update: bool) -> list[PrintedRow]:
    from layerzoo.weights.locking import can_be_locked, change_lock, lock_model

    rows, added = [], {}
    for spec in specs:
        previous = lock.models.get(spec.id)
        if not can_be_locked(spec):
            rows.append(_row(spec.id, "unchanged", None, _pinned_otherwise(spec)))
            continue
        if previous is not None and not update:
            rows.append(_row(spec.id, "unchanged", previous, None))
            continue
        current = lock_model(spec)
        added[spec.id] = current
        state = "locked" if previous is None else "unchanged" if previous == current else "updated"
        moved = f"was {previous.revision}" if previous is not None and previous != current else None
        rows.append(_row(spec.id, state, current, moved))
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
        drift = next(drifts(spec, locked), None)
        rows.append(_row(spec.id, "drifted" if drift else "unchanged", locked, drift.message if drift else None))
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
    return "a local file, which is not locked" if local else "pinned by the sha256 in its declaration"


def _row(model: str, state: str, locked: LockedModel | None, detail: str | None) -> PrintedRow:
    revision, files = (locked.revision, len(locked.files)) if locked else (None, None)
    facts = (model, state, revision, files, detail)
    cells = (model, state, revision and revision[:_SHOWN_DIGITS], files)
    return PrintedRow(model, lambda: dict(zip(_COLUMNS, facts, strict=True)), cells)
