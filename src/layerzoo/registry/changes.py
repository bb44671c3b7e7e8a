"""What the user's own files change, in one line: a folder must not change an experiment silently.

The registry.yaml and the layerzoo.lock of the working directory are named at the first lookup of a process. Those of
the user's configuration directory are named once a model is asked for that follows from them.
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
from layerzoo.registry.in_use import covers
from layerzoo.registry.index import IndexedSource
from layerzoo.registry.installed import USER_NAMESPACE
from layerzoo.registry.shelf import Shelf
from layerzoo.registry.specs import Specs
from layerzoo.registry.stock import Stock

_NAMED = 6
"""How many names of a kind a line has."""
_LONGEST_NAME = 80
_SHOWN_DIGITS = 12
_IGNORE = f"To ignore the files of this folder: --no-local-files, or {NO_LOCAL_FILES}=1"

_told: set[tuple[str, str | None]] = set()
"""Path and sha256 of each file that this process has named."""
_telling = threading.Lock()


@dataclass(frozen=True, slots=True)
class UserFile:
    """A registry.yaml or a layerzoo.lock of the user's that counts here."""

    path: str
    where: Literal["working directory", "configuration directory"]
    sha256: str | None
    """Of the bytes that were read; None where the file cannot be read."""

    def to_dict(self) -> dict[str, str | None]:
        """Return what two experiments in different folders have in common: the name, the kind of folder, the digest."""
        return {"file": os.path.basename(self.path), "where": self.where, "sha256": self.sha256}  # noqa: PTH119


class Changes:
    """What the user's files change in the zoo of a :class:`layerzoo.registry.Registry`."""

    def __init__(self, stock: Stock, specs: Specs) -> None:
        self._stock = stock
        self._specs = specs
        self._is_told = False

    def files(self) -> list[UserFile]:
        """Return the user's files that count here: registries, the nearest first, then the lock.

        Raises: LockError when the lock cannot be used.
        """
        local = self._stock.surroundings.local_file
        found = [_user_file(each, local) for each in self._stock.sources if each.source.role == "user"]
        lock = Lock.read()
        if lock.sha256 is not None:
            found.append(UserFile(str(lock.path), _where(lock.path), lock.sha256))
        return found

    def announce(self, model: str | None = None) -> None:
        """Name the files of the user that count, in one line on the logger, where this process has not named them yet.

        Args:
            model: the id or alias that is asked for; None for a question about all models.
        Raises: RegistryError when the registry.yaml of the working directory is no text file; LockError when a model is
            asked for, and the lock cannot be used.
        """
        parts: list[_Part] = []
        if not self._is_told:
            parts = [*self._local_registry(), *self._local_lock(model)]
        if model is not None:
            parts += self._followed_from(model)
        _tell(parts)
        self._is_told = True

    # ------------------------------------------------------------ the working directory

    def _local_registry(self) -> Iterator[_Part]:
        path = self._stock.surroundings.local_file
        for each in self._stock.sources:
            if path is None or each.source.path != path:
                continue
            if (reason := each.head["unreadable"]) is not None:
                raise RegistryError(
                    f"{path}: {reason}. A {REGISTRY_NAME} in the working directory counts. "
                    "Next: remove or rename it, work in another folder, or ignore the files of this one: "
                    "--no-local-files"
                )
            if each.head["cause"] is not None:
                yield _Part(path, each.head["sha256"], f"nothing of it counts: {_short(each.head['cause'], 200)}")
                return
            changes = self._stock.ask(partial(_changes, local=each))
            yield _Part(path, each.head["sha256"], "; ".join(changes) or "changes nothing")

    def _local_lock(self, model: str | None) -> Iterator[_Part]:
        path = lock_path()
        if path.parent != local_folder():
            return
        try:
            lock = Lock.read(path)
        except LockError as error:
            if model is not None:
                raise
            yield _Part(str(path), None, f"no model can be loaded: {_short(str(error), 200)}")
            return
        own = _lock_of_the_user()
        if lock.sha256 is None and not own.models:
            return
        said = "; ".join(_moves(lock, own, model))
        if lock.sha256 is None:
            said = f"is not there, and {own.path} does not count next to a {REGISTRY_NAME}: {said}"
        yield _Part(str(path), lock.sha256, said or "pins nothing")

    # ------------------------------------------------------------ the configuration directory

    def _followed_from(self, asked: str) -> Iterator[_Part]:
        local = self._stock.surroundings.local_file
        users = [each for each in self._stock.sources if each.source.role == "user"]
        own = {each.source.path: each for each in users if each.source.path != local}
        name = self._specs.resolved(asked)
        if own and (row := self._specs.find(name)) and (found := own.get(row.source.path)):
            yield _Part(found.source.path, found.head["sha256"], f"declares {_short(name)}", is_local=False)
        elif own and name != asked and (alias := self._alias_in(own.values(), asked)):
            yield _Part(alias.source.path, alias.head["sha256"], f"{_short(asked)} is {_short(name)}", is_local=False)
        path = lock_path()
        if path.parent != local_folder() and (locked := (lock := Lock.read(path)).models.get(name)):
            said = "; ".join(_moves(Lock(path, {name: locked}), Lock(path), name))
            yield _Part(str(path), lock.sha256, said, is_local=False)

    def _alias_in(self, sources: Iterable[IndexedSource], asked: str) -> IndexedSource | None:
        return next((each for each in sources if asked in each.head["aliases"]), None)


@dataclass(frozen=True, slots=True)
class _Part:
    """One file in the line."""

    path: str
    sha256: str | None
    text: str
    is_local: bool = True


def mark_as_told(lock: Lock) -> None:
    """Note that this process wrote a lock itself, so that it does not tell the user about it."""
    with _telling:
        _told.add((str(lock.path), lock.sha256))


def announce_lock(lock: Lock, model: str | None) -> None:
    """Name a lock that is used now, where it was not named yet: the working directory may have changed since.

    Args:
        lock: the lock that counts here.
        model: the id that is looked up in it.
    """
    if (locked := lock.models.get(model or "")) is None:
        return
    own = _lock_of_the_user() if lock.path.parent == local_folder() else Lock(lock.path)
    said = "; ".join(_moves(lock if own.path != lock.path else Lock(lock.path, {str(model): locked}), own, model))
    _tell([_Part(str(lock.path), lock.sha256, said, is_local=own.path != lock.path)])


def _tell(parts: Sequence[_Part]) -> None:
    with _telling:
        new = [part for part in parts if (part.path, part.sha256) not in _told]
        _told.update((part.path, part.sha256) for part in new)
    if new:
        files = " and ".join(f"{part.path} ({part.text})" for part in new)
        warn(f"using {files}." + (f" {_IGNORE}" if any(part.is_local for part in new) else ""))


# ---------------------------------------------------------------- a registry


def _changes(shelf: Shelf, local: IndexedSource) -> list[str]:
    """What a registry.yaml in the working directory changes in the zoo without it."""
    own = [each for each in shelf.sources if each.source.role == "user" and each.id != local.id]
    ids = shelf.declared(local.id)
    own_ids = {name for each in own for name in shelf.declared(each.id)}
    aliases: dict[str, str] = local.head["aliases"]
    own_aliases = {alias: target for each in reversed(own) for alias, target in each.head["aliases"].items()}
    hidden = [name for name in ids if name in own_ids]
    moved = {alias: target for alias, target in aliases.items() if own_aliases.get(alias, target) != target}
    hidden_aliases = [alias for alias in own_aliases if _full(alias) in ids and _full(alias) not in own_ids]
    disabled: list[str] = local.head["disabled"]
    taken_out = shelf.taken_out(disabled)
    disabled_own = sorted(own_ids & taken_out)
    others = [entry for entry in disabled if entry not in disabled_own]
    touched = {*hidden, *moved, *hidden_aliases, *taken_out, *disabled}
    bases = {name: base for each in own for name, base in shelf.bases(each.id)}
    changed = [name for name in bases if name not in touched and _reaches(name, bases, own_aliases, touched, disabled)]
    added = [name for name in ids if name not in own_ids]
    added += [f"{alias} → {target}" for alias, target in aliases.items() if alias not in own_aliases]
    kinds = (
        ("adds", added),
        ("hides your own", [*hidden, *hidden_aliases]),
        ("changes your own", [f"{name} (by its base)" for name in changed]),
        ("changes your own alias", [f"{alias} ({own_aliases[alias]} → {target})" for alias, target in moved.items()]),
        ("disables your own", disabled_own),
        ("disables", [_counted(shelf, entry) for entry in others[: _NAMED + 1]] + others[_NAMED + 1 :]),
    )
    return [f"{verb} {_few(names)}" for verb, names in kinds if names]


def _counted(shelf: Shelf, entry: str) -> str:
    count = shelf.covered(entry) if entry.endswith("/*") else 0
    return f"{entry} ({count:,} model{'' if count == 1 else 's'})" if count else entry


def _reaches(
    name: str, bases: dict[str, str], aliases: dict[str, str], touched: set[str], disabled: Sequence[str]
) -> bool:
    """Whether the chain of bases of a model passes a name that is touched."""
    wildcards = [entry for entry in disabled if entry.endswith("/*")]
    seen: set[str] = set()
    step: str | None = bases.get(name)
    while step is not None and step not in seen:
        seen.add(step)
        short = step.removeprefix(f"{USER_NAMESPACE}/")
        if step in touched or short in touched or any(covers(entry, step) for entry in wildcards):
            return True
        step = bases.get(step) or aliases.get(step) or aliases.get(short)
    return False


def _full(alias: str) -> str:
    return alias if alias.startswith(f"{USER_NAMESPACE}/") else f"{USER_NAMESPACE}/{alias}"


# ---------------------------------------------------------------- a lock


def _moves(lock: Lock, own: Lock, asked: str | None) -> Iterator[str]:
    """What a lock in the working directory changes, the model that is asked for first.

    Without it a model is at the commit of the user's own lock, else at the revision that its declaration names.
    """
    names = sorted(dict.fromkeys((*lock.models, *own.models)), key=lambda name: name != asked)
    moved = [name for name in names if _revision(lock, own, name) != _revision(own, lock, name)]
    steps = [f"{name} ({_ref(_revision(own, lock, name))} → {_ref(_revision(lock, own, name))})" for name in moved]
    if steps:
        yield f"moves {_few(steps)}"
    differing = set(moved)
    same = [name for name in lock.models if name not in differing]
    if same:
        yield f"pins {_few(same)}"


def _revision(lock: Lock, other: Lock, name: str) -> str:
    """The commit that a lock says; else the branch or tag of the declaration that either of them was made for."""
    locked = lock.models.get(name)
    if locked is not None and locked.revision is not None:
        return locked.revision
    either: LockedModel = locked or other.models[name]
    _, at, rest = either.source.partition("@")
    return rest.partition("/")[0] if at else "main"


def _ref(revision: str) -> str:
    is_commit = len(revision) == 40 and all(digit in "0123456789abcdef" for digit in revision)
    return revision[:_SHOWN_DIGITS] if is_commit else _short(revision)


def _lock_of_the_user() -> Lock:
    """Return the lock in the configuration directory; an empty one where it cannot be used."""
    path = user_folder() / LOCK_NAME
    with contextlib.suppress(LockError):
        return Lock.read(path)
    return Lock(path)


# ---------------------------------------------------------------- words


def _user_file(each: IndexedSource, local: str | None) -> UserFile:
    where: Literal["working directory", "configuration directory"]
    where = "working directory" if each.source.path == local else "configuration directory"
    return UserFile(each.source.path, where, each.head["sha256"])


def _where(path: Path) -> Literal["working directory", "configuration directory"]:
    return "working directory" if path.parent == local_folder() else "configuration directory"


def _few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - _NAMED
    shown = ", ".join(map(_short, names[:_NAMED]))
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def _short(text: str, longest: int = _LONGEST_NAME) -> str:
    return shorten(text, longest)
