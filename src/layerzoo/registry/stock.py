"""The shelf of one Registry, and what takes its place when the database behind it fails."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from layerzoo.registry.database import Database
from layerzoo.registry.discovery import Surroundings, look_around, remembered
from layerzoo.registry.in_use import sources_of
from layerzoo.registry.index import IndexedSource
from layerzoo.registry.notes import Notes
from layerzoo.registry.shelf import Shelf
from layerzoo.registry.source import UNSETTLED, fingerprint

AnswerT = TypeVar("AnswerT")


class Stock:
    """Asks the shelf; a database that cannot answer is replaced by one that can, and the answer is the same."""

    def __init__(self, surroundings: Surroundings | None, cache: Path) -> None:
        self._lock = threading.Lock()
        self._database = Database.open(cache)
        self.surroundings = surroundings or look_around(Notes(self._database))
        self._shelf = self._filled()
        _all.add(self)

    @property
    def sources(self) -> list[IndexedSource]:
        """The files in use, the nearest first."""
        return self._shelf.sources

    def ask(self, question: Callable[[Shelf], AnswerT]) -> AnswerT:
        """The shelf's answer."""
        shelf = self._shelf
        try:
            return question(shelf)
        except sqlite3.DatabaseError as error:
            with self._lock:
                if self._shelf is shelf:  # no other thread was faster
                    self._database = self._database.instead(error)
                    self._shelf = self._filled()
            return question(self._shelf)

    def is_current(self) -> bool:
        """Whether nothing was installed, removed or edited since this was made."""
        if look_around(Notes(self._database)) != self.surroundings:
            return False
        return all(state != UNSETTLED and fingerprint(path) == state for path, state in self._states())

    def remember_for_environment(self, name: str, find: Callable[[], Any]) -> Any:
        """See :meth:`layerzoo.registry.Registry.remember_for_environment`."""
        return remembered(Notes(self._database), name, find)

    def keep_outcome(self, module: str, outcome: dict[str, Any]) -> None:
        """Remember how the import of a plugin's module went. A database that cannot be written forgets it."""
        try:
            Notes(self._database).keep_outcome(module, outcome)
        except sqlite3.DatabaseError:
            return

    def outcome(self, module: str) -> dict[str, Any] | None:
        """How the import of a plugin's module went last; None where that is not known."""
        return self.ask(lambda _: Notes(self._database).outcome(module))

    def after_fork(self) -> None:
        """Begin again in a child process, with a database and a lock of its own."""
        self._lock = threading.Lock()
        self._database.after_fork()

    def _filled(self) -> Shelf:
        for _ in range(2):
            try:
                return Shelf(self._database, self.surroundings)
            except sqlite3.DatabaseError as error:
                self._database = self._database.instead(error)
        return Shelf(Database.in_memory(), self.surroundings)

    def _states(self) -> Iterable[tuple[str, str | None]]:
        """Every file that counts, and its fingerprint when it was read; None for one that was not there."""
        sources = self.sources
        files = [each.path for each in sources_of(self.surroundings)]
        catalogues = [path for each in sources if (path := each.head["catalogue"])]
        absent: dict[str, str | None] = dict.fromkeys([*files, *catalogues])
        return (absent | {each.source.path: each.state for each in sources}).items()


_all: weakref.WeakSet[Stock] = weakref.WeakSet()


def _begin_again() -> None:
    for stock in list(_all):
        stock.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
