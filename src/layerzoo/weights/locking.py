"""Making a lock, and comparing one with what the hub has now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from layerzoo.errors import DriftError
from layerzoo.lock import Lock, LockedModel, lock_path
from layerzoo.paths import lock_turn_path
from layerzoo.registry.changes import mark_as_told
from layerzoo.spec import ModelSpec
from layerzoo.weights import repository
from layerzoo.weights.cache import cache_errors, locked
from layerzoo.weights.sources import Source, parse_source


def can_be_locked(spec: ModelSpec) -> bool:
    """Whether the model's weights lie in a repository of the hub. Those of a package or behind a link have their sha256
    declared, and local files are the user's own."""
    return spec.weights is not None and parse_source(spec.weights.source).scheme == "hf"


def lock_model(spec: ModelSpec, commit: str | None = None) -> LockedModel:
    """What the model's weights are now, or at a commit. Only small files are fetched, for their sha256.

    Raises: UnavailableError of the kind that fits.
    """
    source = _source(spec)
    return repository.locked_model(source, commit or repository.latest_commit(source))


def change_lock(change: Callable[[Lock], Lock]) -> Lock:
    """Read the lock that counts here, change it and write it, alone among all processes: what others add stays.

    Raises: LockError when it is not valid, OutputError when it cannot be written, CacheError.
    """
    path = lock_path()
    turn = lock_turn_path(path)
    with cache_errors(turn), locked(turn):
        written = change(Lock.read(path)).write()
    mark_as_told(written)
    return written


@dataclass(frozen=True, slots=True)
class Drift:
    """A locked model of which something has changed since."""

    model: str
    locked: str
    found: str
    message: str


def drifts(spec: ModelSpec, before: LockedModel) -> Iterator[Drift]:
    """What differs between a lock and the declaration, or what the declaration means on the hub now.

    Raises: UnavailableError of the kind that fits.
    """
    source = _source(spec)
    try:
        repository.commit_of(source, before, model=spec.id)
    except DriftError as error:
        yield Drift(spec.id, error.locked, error.found, str(error))
        return
    if different := repository.difference(source, before, model=spec.id):
        message = f"{different}. Next, if that is meant: zoo lock --update {spec.id}"
        yield Drift(spec.id, str(before.revision), str(before.revision), message)
        return
    found = repository.latest_commit(source)
    if found != before.revision:
        message = f"{source} is at {found} now, and was locked at {before.revision}"
        yield Drift(spec.id, str(before.revision), found, f"{message}. Next: zoo lock --update {spec.id}")


def _source(spec: ModelSpec) -> Source:
    assert spec.weights is not None
    return parse_source(spec.weights.source)
