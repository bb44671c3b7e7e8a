"""Log in one line what the user's files change, so that a folder cannot change an experiment silently.

The registry.yaml and the layerzoo.lock of the working directory are logged at the first lookup of a process. Those of
the user's configuration directory are logged at the first lookup of a model that they affect.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from layerzoo.errors import LockError, RegistryError
from layerzoo.local_files import NO_LOCAL_FILES, local_folder
from layerzoo.lock import Lock, LockedModel, lock_path
from layerzoo.notices import warn
from layerzoo.paths import LOCK_NAME, REGISTRY_NAME, user_folder
from layerzoo.printable import shorten
from layerzoo.registry.index.models import Specs
from layerzoo.registry.index.reader import IndexReader
from layerzoo.registry.index.visibility import IndexedSource, covers
from layerzoo.registry.installed.plugin import USER_NAMESPACE

_NAMED = 6
"""How many names of each kind are listed."""
_LONGEST_NAME = 80
_SHOWN_DIGITS = 12
_IGNORE = f"To ignore the files of this folder: --no-local-files, or {NO_LOCAL_FILES}=1"

_logged: set[tuple[str, str | None]] = set()
"""Path and sha256 of each file that this process has logged."""
_logging = threading.Lock()


@dataclass(frozen=True, slots=True)
class UserFile:
    """A registry.yaml or layerzoo.lock of the user that applies here."""

    path: str
    where: Literal["working directory", "configuration directory"]
    sha256: str | None
    """Of the bytes that were read; None if the file cannot be read."""

    def to_dict(self) -> dict[str, str | None]:
        """Return the name, the kind of folder and the digest, which do not depend on the path of the folder."""
        return {"file": os.path.basename(self.path), "where": self.where, "sha256": self.sha256}  # noqa: PTH119


class Changes:
    """The effects of the user's files on a :class:`layerzoo.registry.Registry`."""

    def __init__(self, reader: IndexReader, specs: Specs) -> None:
        self._reader = reader
        self._specs = specs
        self._is_announced = False

    def files(self) -> list[UserFile]:
        """Return the user's files that apply here: registries, the nearest first, then the lock.

        Raises: LockError if the lock cannot be used.
        """
        local = self._reader.environment.local_file
        files = [_user_file(source, local) for source in self._reader.sources if source.source.role == "user"]
        lock = Lock.read()
        if lock.sha256 is not None:
            files.append(UserFile(str(lock.path), _scope_of(lock.path), lock.sha256))
        return files

    def announce(self, model: str | None = None) -> None:
        """Log the user's files that apply here in one line, unless this process has logged them before.

        Args:
            model: the id or alias of the requested model; None for a request about all models.
        Raises: RegistryError if the registry.yaml of the working directory is not a text file; LockError if a model is
            requested and the lock cannot be used.
        """
        parts: list[_FileNotice] = []
        if not self._is_announced:
            parts = [*self._local_registry(), *self._local_lock(model)]
        if model is not None:
            parts += self._followed_from(model)
        _log(parts)
        self._is_announced = True

    # ------------------------------------------------------------ the working directory

    def _local_registry(self) -> Iterator[_FileNotice]:
        path = self._reader.environment.local_file
        for source in self._reader.sources:
            if path is None or source.source.path != path:
                continue
            if (reason := source.head["unreadable"]) is not None:
                raise RegistryError(
                    f"{path}: {reason}. A {REGISTRY_NAME} in the working directory counts. "
                    "Next: remove or rename it, work in another folder, or ignore the files of this one: "
                    "--no-local-files"
                )
            if source.head["cause"] is not None:
                yield _FileNotice(
                    path, source.head["sha256"], f"nothing of it counts: {_short(source.head['cause'], 200)}"
                )
                return
            changes = self._reader.ask(partial(_changes, self._reader, source))
            yield _FileNotice(path, source.head["sha256"], "; ".join(changes) or "changes nothing")

    def _local_lock(self, model: str | None) -> Iterator[_FileNotice]:
        path = lock_path()
        if path.parent != local_folder():
            return
        try:
            lock = Lock.read(path)
        except LockError as error:
            if model is not None:
                raise
            yield _FileNotice(str(path), None, f"no model can be loaded: {_short(str(error), 200)}")
            return
        own = _lock_of_the_user()
        if lock.sha256 is None and not own.models:
            return
        message = "; ".join(_moves(lock, own, model))
        if lock.sha256 is None:
            message = f"does not exist, and {own.path} is ignored next to a {REGISTRY_NAME}: {message}"
        yield _FileNotice(str(path), lock.sha256, message or "pins nothing")

    # ------------------------------------------------------------ the configuration directory

    def _followed_from(self, requested: str) -> Iterator[_FileNotice]:
        local = self._reader.environment.local_file
        users = [source for source in self._reader.sources if source.source.role == "user"]
        own = {user.source.path: user for user in users if user.source.path != local}
        name = self._specs.resolved(requested)
        if own and (row := self._specs.find(name)) and (own_source := own.get(row.source.path)):
            yield _FileNotice(
                own_source.source.path, own_source.head["sha256"], f"declares {_short(name)}", is_local=False
            )
        elif own and name != requested and (alias := self._alias_in(own.values(), requested)):
            yield _FileNotice(
                alias.source.path, alias.head["sha256"], f"{_short(requested)} is {_short(name)}", is_local=False
            )
        path = lock_path()
        if path.parent != local_folder() and (locked := (lock := Lock.read(path)).models.get(name)):
            message = "; ".join(_moves(Lock(path, {name: locked}), Lock(path), name))
            yield _FileNotice(str(path), lock.sha256, message, is_local=False)

    def _alias_in(self, sources: Iterable[IndexedSource], alias: str) -> IndexedSource | None:
        return next((source for source in sources if alias in source.head["aliases"]), None)


@dataclass(frozen=True, slots=True)
class _FileNotice:
    """The part of the line about one file."""

    path: str
    sha256: str | None
    text: str
    is_local: bool = True


def mark_as_logged(lock: Lock) -> None:
    """Mark a lock that this process wrote as logged, so that it is not announced."""
    with _logging:
        _logged.add((str(lock.path), lock.sha256))


def announce_lock(lock: Lock, model: str | None) -> None:
    """Log a lock unless it was logged before. The working directory may have changed since the first lookup.

    Args:
        lock: the lock that applies here.
        model: the id that is looked up in it.
    """
    if (locked := lock.models.get(model or "")) is None:
        return
    own = _lock_of_the_user() if lock.path.parent == local_folder() else Lock(lock.path)
    message = "; ".join(_moves(lock if own.path != lock.path else Lock(lock.path, {str(model): locked}), own, model))
    _log([_FileNotice(str(lock.path), lock.sha256, message, is_local=own.path != lock.path)])


def _log(parts: Sequence[_FileNotice]) -> None:
    with _logging:
        new = [part for part in parts if (part.path, part.sha256) not in _logged]
        _logged.update((part.path, part.sha256) for part in new)
    if new:
        files = " and ".join(f"{part.path} ({part.text})" for part in new)
        warn(f"using {files}." + (f" {_IGNORE}" if any(part.is_local for part in new) else ""))


# ---------------------------------------------------------------- a registry


def _changes(reader: IndexReader, local: IndexedSource) -> list[str]:
    """Return what a registry.yaml in the working directory changes."""
    own = [source for source in reader.sources if source.source.role == "user" and source.id != local.id]
    ids = reader.declared(local.id)
    own_ids = {name for source in own for name in reader.declared(source.id)}
    aliases: dict[str, str] = local.head["aliases"]
    own_aliases = {alias: target for source in reversed(own) for alias, target in source.head["aliases"].items()}
    hidden = [name for name in ids if name in own_ids]
    moved = {alias: target for alias, target in aliases.items() if own_aliases.get(alias, target) != target}
    hidden_aliases = [alias for alias in own_aliases if _full(alias) in ids and _full(alias) not in own_ids]
    disabled: list[str] = local.head["disabled"]
    taken_out = reader.taken_out(disabled)
    disabled_own = sorted(own_ids & taken_out)
    other_entries = [entry for entry in disabled if entry not in disabled_own]
    touched = {*hidden, *moved, *hidden_aliases, *taken_out, *disabled}
    bases = {name: base for source in own for name, base in reader.bases(source.id)}
    changed = [name for name in bases if name not in touched and _reaches(name, bases, own_aliases, touched, disabled)]
    added = [name for name in ids if name not in own_ids]
    added += [f"{alias} → {target}" for alias, target in aliases.items() if alias not in own_aliases]
    kinds = (
        ("adds", added),
        ("hides your own", [*hidden, *hidden_aliases]),
        ("changes your own", [f"{name} (by its base)" for name in changed]),
        ("changes your own alias", [f"{alias} ({own_aliases[alias]} → {target})" for alias, target in moved.items()]),
        ("disables your own", disabled_own),
        ("disables", [_counted(reader, entry) for entry in other_entries[: _NAMED + 1]] + other_entries[_NAMED + 1 :]),
    )
    return [f"{verb} {_few(names)}" for verb, names in kinds if names]


def _counted(reader: IndexReader, entry: str) -> str:
    count = reader.covered(entry) if entry.endswith("/*") else 0
    return f"{entry} ({count:,} model{'' if count == 1 else 's'})" if count else entry


def _reaches(
    name: str, bases: dict[str, str], aliases: dict[str, str], touched: set[str], disabled: Sequence[str]
) -> bool:
    """Return whether the chain of bases of a model contains a changed name."""
    wildcards = [entry for entry in disabled if entry.endswith("/*")]
    visited: set[str] = set()
    step: str | None = bases.get(name)
    while step is not None and step not in visited:
        visited.add(step)
        short = step.removeprefix(f"{USER_NAMESPACE}/")
        if step in touched or short in touched or any(covers(entry, step) for entry in wildcards):
            return True
        step = bases.get(step) or aliases.get(step) or aliases.get(short)
    return False


def _full(alias: str) -> str:
    return alias if alias.startswith(f"{USER_NAMESPACE}/") else f"{USER_NAMESPACE}/{alias}"


# ---------------------------------------------------------------- a lock


def _moves(lock: Lock, own: Lock, requested: str | None) -> Iterator[str]:
    """Return what a lock in the working directory changes, starting with the requested model.

    Without it, a model is at the commit of the user's lock, or else at the revision of its declaration.
    """
    names = sorted(dict.fromkeys((*lock.models, *own.models)), key=lambda name: name != requested)
    moved = [name for name in names if _revision(lock, own, name) != _revision(own, lock, name)]
    steps = [f"{name} ({_ref(_revision(own, lock, name))} → {_ref(_revision(lock, own, name))})" for name in moved]
    if steps:
        yield f"moves {_few(steps)}"
    differing = set(moved)
    same = [name for name in lock.models if name not in differing]
    if same:
        yield f"pins {_few(same)}"


def _revision(lock: Lock, fallback: Lock, name: str) -> str:
    """Return the commit in a lock, or else the branch or tag of the declaration that either lock was made for."""
    locked = lock.models.get(name)
    if locked is not None and locked.revision is not None:
        return locked.revision
    either: LockedModel = locked or fallback.models[name]
    _, at, ref_path = either.source.partition("@")
    return ref_path.partition("/")[0] if at else "main"


def _ref(revision: str) -> str:
    is_commit = len(revision) == 40 and all(digit in "0123456789abcdef" for digit in revision)
    return revision[:_SHOWN_DIGITS] if is_commit else _short(revision)


def _lock_of_the_user() -> Lock:
    """Return the lock in the configuration directory; an empty one if it cannot be used."""
    path = user_folder() / LOCK_NAME
    with contextlib.suppress(LockError):
        return Lock.read(path)
    return Lock(path)


# ---------------------------------------------------------------- words


def _user_file(source: IndexedSource, local: str | None) -> UserFile:
    scope: Literal["working directory", "configuration directory"]
    scope = "working directory" if source.source.path == local else "configuration directory"
    return UserFile(source.source.path, scope, source.head["sha256"])


def _scope_of(path: Path) -> Literal["working directory", "configuration directory"]:
    return "working directory" if path.parent == local_folder() else "configuration directory"


def _few(names: Sequence[str]) -> str:
    """Join the first names, and count the others."""
    omitted = len(names) - _NAMED
    text = ", ".join(map(_short, names[:_NAMED]))
    return f"{text} and {omitted:,} more" if omitted > 0 else text


def _short(text: str, longest: int = _LONGEST_NAME) -> str:
    return shorten(text, longest)
