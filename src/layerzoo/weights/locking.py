"""Create a lock, and compare it with the current state of the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from layerzoo.errors import DriftError
from layerzoo.lock import Lock, LockedFile, LockedModel, lock_path
from layerzoo.paths import lock_turn_path
from layerzoo.registry.changes import mark_as_logged
from layerzoo.spec import ModelSpec
from layerzoo.weights import repository
from layerzoo.weights.cache import cache_errors, locked
from layerzoo.weights.digests import sha256
from layerzoo.weights.resolver import resolve
from layerzoo.weights.sources import Source, parse_source


def can_be_locked(spec: ModelSpec) -> bool:
    """Return whether the weights of a model are in a repository of the hub, or at a link without a declared sha256.

    Other links and files of packages have a declared sha256, and local files belong to the user.

    Args:
        spec: the declaration of the model.
    """
    if spec.weights is None:
        return False
    source = parse_source(spec.weights.source)
    declared = {name for name, _ in spec.weights.sha256}
    return source.scheme == "hf" or (source.scheme == "https" and PurePosixPath(source.path).name not in declared)


def lock_model(spec: ModelSpec, commit: str | None = None) -> LockedModel:
    """Return the current weights of a model, or those at a commit.

    Of a repository, only small files are fetched, for their sha256. A file at a link is fetched, because its
    sha256 is not stated elsewhere.

    Args:
        spec: the declaration of the model.
        commit: 40 hex digits; None for the current one.
    Raises: UnavailableError of the kind that fits.
    """
    source = _source(spec)
    if source.scheme == "https":
        files = resolve(spec.weights, pins=True)  # without the id: the digests that are locked now do not matter
        locked = {name: LockedFile(sha256(files[name]), files[name].stat().st_size) for name in files}
        return LockedModel(str(source), None, locked)
    return repository.locked_model(source, commit or repository.latest_commit(source))


def change_lock(change: Callable[[Lock], Lock]) -> Lock:
    """Read the lock in use, change it and write it while no other process can, so that no change is lost.

    Args:
        change: returns the new lock for the one in use.
    Raises: LockError when it is not valid, OutputError when it cannot be written, CacheError.
    """
    path = lock_path()
    turn = lock_turn_path(path)
    with cache_errors(turn), locked(turn):
        lock = change(Lock.read(path)).write()
    mark_as_logged(lock)
    return lock


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference between a lock and the declaration or the hub."""

    model: str
    locked: str
    found: str
    message: str


def drifts(spec: ModelSpec, locked_model: LockedModel) -> Iterator[Drift]:
    """Yield the differences between a locked model, its declaration and the hub.

    Args:
        spec: the declaration of the model.
        locked_model: the entry of the model in the lock.
    Raises: UnavailableError of the kind that fits.
    """
    source = _source(spec)
    if source.scheme == "https":
        if locked_model.source != str(source):
            message = f"the weights of {spec.id} are declared as {source}, and were locked as {locked_model.source}"
            message += f". Next, if the change is intended: zoo lock --update {spec.id}"
            yield Drift(spec.id, locked_model.source, str(source), message)
        return
    try:
        repository.commit_of(source, locked_model, model=spec.id)
    except DriftError as error:
        yield Drift(spec.id, error.locked, error.found, str(error))
        return
    if different := repository.difference(source, locked_model, model=spec.id):
        message = f"{different}. Next, if that is intended: zoo lock --update {spec.id}"
        yield Drift(spec.id, str(locked_model.revision), str(locked_model.revision), message)
        return
    commit = repository.latest_commit(source)
    if commit != locked_model.revision:
        message = f"{source} is at {commit} now, and was locked at {locked_model.revision}"
        yield Drift(spec.id, str(locked_model.revision), commit, f"{message}. Next: zoo lock --update {spec.id}")


def _source(spec: ModelSpec) -> Source:
    assert spec.weights is not None
    return parse_source(spec.weights.source)
