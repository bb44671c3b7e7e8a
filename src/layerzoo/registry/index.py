"""The compiled registries: one SQLite file in the cache directory, rows per source file.

A source's rows are replaced in one transaction when the file's times or size change. Everything in it can be made
again: where the cache directory is missing, read-only or corrupt, an index in memory gives the same answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerzoo.registry.diagnostics import Diagnostic
from layerzoo.registry.source import UNSETTLED, Source, fingerprint

if TYPE_CHECKING:
    from layerzoo.registry.compile import Compiled

# A new table, column or kind of row gets a file of its own, so that two versions of layerzoo do not fight over one.
FILE_NAME = "registry-1.sqlite3"
_WAIT_S = 30.0
"""How long to wait for another process that is compiling."""
_KEPT_SCANS = 32
_COMPILING_MODULES = ("compile", "document", "forms", "schema")

_TABLES = """
CREATE TABLE IF NOT EXISTS sources (
    id INTEGER PRIMARY KEY, path TEXT, owner TEXT, stamp TEXT, head TEXT, UNIQUE (path, owner));
CREATE TABLE IF NOT EXISTS models (
    row INTEGER PRIMARY KEY, source INTEGER, id TEXT, modality TEXT, license TEXT, params INTEGER, base TEXT,
    spec TEXT, UNIQUE (source, id));
CREATE INDEX IF NOT EXISTS models_by_id ON models (id, source);
CREATE INDEX IF NOT EXISTS models_by_base ON models (base) WHERE base IS NOT NULL;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (id, summary, facts);
CREATE TABLE IF NOT EXISTS aliases (source INTEGER, alias TEXT, target TEXT, UNIQUE (source, alias));
CREATE INDEX IF NOT EXISTS aliases_by_target ON aliases (target);
CREATE TABLE IF NOT EXISTS diagnostics (source INTEGER, model TEXT, fields TEXT);
CREATE INDEX IF NOT EXISTS diagnostics_by_model ON diagnostics (model);
CREATE TABLE IF NOT EXISTS scans (paths TEXT PRIMARY KEY, times TEXT, found TEXT);
CREATE TABLE IF NOT EXISTS imports (module TEXT PRIMARY KEY, outcome TEXT);
"""


@dataclass(frozen=True, slots=True)
class IndexedSource:
    """A source that is in the index."""

    id: int
    source: Source
    head: dict[str, Any]
    """The fields of :class:`layerzoo.registry.compile.Head`."""

    @property
    def builders(self) -> list[str]:
        return list(self.head["builders"])


class Index:
    """The tables. Safe to use from several threads; several processes may share the file."""

    def __init__(self, connection: sqlite3.Connection, folder: Path | None) -> None:
        self._connection = connection
        self._folder = folder
        self._lock = threading.RLock()

    @classmethod
    def open(cls, folder: Path) -> Index:
        """The index in a folder, made where it is missing and made again where it is damaged; else one in memory."""
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            return cls._connected(folder)
        except sqlite3.DatabaseError as error:
            return cls._instead(folder, error)

    @classmethod
    def in_memory(cls) -> Index:
        """An index that nobody else sees and that is gone with the process."""
        return cls._connected(None)

    def instead(self, error: sqlite3.DatabaseError) -> Index:
        """Another index to go on with after this one failed."""
        self.close()
        return self._instead(self._folder, error)

    @classmethod
    def _instead(cls, folder: Path | None, error: sqlite3.DatabaseError) -> Index:
        # An OperationalError is of the circumstances (read-only, locked, full); any other is a damaged file.
        if folder is not None and not isinstance(error, sqlite3.OperationalError):
            with contextlib.suppress(OSError, sqlite3.DatabaseError):
                (folder / FILE_NAME).unlink(missing_ok=True)
                return cls._connected(folder)
        return cls.in_memory()

    @classmethod
    def _connected(cls, folder: Path | None) -> Index:
        path = ":memory:" if folder is None else str(folder / FILE_NAME)
        connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = 1; COMMIT;")
            # Pages that a long transaction writes early would lock readers out until it ends.
            connection.execute("PRAGMA cache_spill = OFF")
        except sqlite3.Error:
            connection.close()
            raise
        return cls(connection, folder)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds. Raises: sqlite3.DatabaseError."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # ------------------------------------------------------------ sources

    def update(self, sources: Sequence[Source], version: str | None) -> list[IndexedSource]:
        """The sources as they are now, each followed by its catalogue; what has changed is compiled.

        version: layerzoo's own. Raises: sqlite3.DatabaseError when the index can neither be read nor written.
        """
        found: list[IndexedSource] = []
        for source in sources:
            if (indexed := self._updated(source, version, is_catalogue=False)) is None:
                continue
            found.append(indexed)
            if catalogue := indexed.head["catalogue"]:
                beside = Source(catalogue, source.role, source.namespace, source.distribution)
                found += [each for each in [self._updated(beside, version, is_catalogue=True)] if each]
        return found

    def _updated(self, source: Source, version: str | None, *, is_catalogue: bool) -> IndexedSource | None:
        stamp = _stamp(source, version)
        if stamp is None:
            return None
        if (known := self._known(source, stamp)) is None:
            known = self._compile(source, stamp, version, is_catalogue=is_catalogue)
        return known

    def _known(self, source: Source, stamp: str) -> IndexedSource | None:
        sql = "SELECT id, head FROM sources WHERE path = ? AND owner = ? AND stamp = ?"
        for row_id, head in self.rows(sql, (source.path, _owner(source), stamp)):
            return IndexedSource(row_id, source, json.loads(head)) if stamp != UNSETTLED else None
        return None

    def _compile(self, source: Source, stamp: str, version: str | None, *, is_catalogue: bool) -> IndexedSource:
        from layerzoo.registry.compile import Compiled, Head, compile_catalogue, compile_registry

        with self._transaction():
            # Another process may have compiled it while this one waited for its turn.
            if known := self._known(source, stamp):
                return known
            self._forget_vanished()
            compiled = (
                Compiled(Head(), compile_catalogue(source)) if is_catalogue else compile_registry(source, version)
            )
            return self._replace(source, stamp, compiled)

    def _replace(self, source: Source, stamp: str, compiled: Compiled) -> IndexedSource:
        """Put new rows in the place of a source's old ones. Its id stays, for those who still use it."""
        head = {name: getattr(compiled.head, name) for name in compiled.head.__slots__}
        key = (source.path, _owner(source))
        self._connection.execute("INSERT OR IGNORE INTO sources (path, owner) VALUES (?, ?)", key)
        ((row_id,),) = self.rows("SELECT id FROM sources WHERE path = ? AND owner = ?", key)
        self._clear(row_id)
        for row in compiled.rows:
            self._insert(row_id, row)
        pairs = [(row_id, alias, target) for alias, target in compiled.head.aliases.items()]
        self._connection.executemany("INSERT INTO aliases VALUES (?, ?, ?)", pairs)
        values = (stamp, json.dumps(head), row_id)
        self._connection.execute("UPDATE sources SET stamp = ?, head = ? WHERE id = ?", values)
        return IndexedSource(row_id, source, head)

    def _insert(self, source: int, row: dict[str, Any] | Diagnostic) -> None:
        if isinstance(row, Diagnostic):
            fields = {name: getattr(row, name) for name in row.__slots__}
            values = (source, row.model, json.dumps(fields))
            self._connection.execute("INSERT INTO diagnostics VALUES (?, ?, ?)", values)
            return
        columns = [row.get(name) for name in ("id", "modality", "license", "params", "base")]
        cursor = self._connection.execute(
            "INSERT INTO models (source, id, modality, license, params, base, spec) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (source, *columns, json.dumps(row)),
        )
        facts = " ".join(row.get(name, "") for name in ("modality", "builder", "license"))
        words = (cursor.lastrowid, row["id"], row.get("summary", ""), facts)
        self._connection.execute("INSERT INTO words (rowid, id, summary, facts) VALUES (?, ?, ?, ?)", words)

    def _clear(self, source: int) -> None:
        self._connection.execute(
            "DELETE FROM words WHERE rowid IN (SELECT row FROM models WHERE source = ?)", (source,)
        )
        for table in ("models", "aliases", "diagnostics"):
            self._connection.execute(f"DELETE FROM {table} WHERE source = ?", (source,))

    def _forget_vanished(self) -> None:
        for row_id, path in self.rows("SELECT id, path FROM sources"):
            if not os.path.exists(path):  # noqa: PTH110 - Path objects are slow, and there may be many
                self._clear(row_id)
                self._connection.execute("DELETE FROM sources WHERE id = ?", (row_id,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    # ------------------------------------------------------------ what is installed, and how imports went

    def scan(self, paths: str, times: str) -> Any:
        """What was found in these folders when they last had these times of change; None when they have others."""
        for (found,) in self.rows("SELECT found FROM scans WHERE paths = ? AND times = ?", (paths, times)):
            return json.loads(found)
        return None

    def keep_scan(self, paths: str, times: str, found: Any) -> None:
        """Raises: sqlite3.DatabaseError when the index cannot be written."""
        with self._transaction():
            values = (paths, times, json.dumps(found))
            self._connection.execute("INSERT OR REPLACE INTO scans VALUES (?, ?, ?)", values)
            newest = f"SELECT rowid FROM scans ORDER BY rowid DESC LIMIT {_KEPT_SCANS}"
            self._connection.execute(f"DELETE FROM scans WHERE rowid NOT IN ({newest})")

    def outcome(self, module: str) -> dict[str, Any] | None:
        """How the import of a plugin's module went last, as it was kept; None when it was never tried."""
        for (outcome,) in self.rows("SELECT outcome FROM imports WHERE module = ?", (module,)):
            return dict(json.loads(outcome))
        return None

    def keep_outcome(self, module: str, outcome: dict[str, Any]) -> None:
        """Raises: sqlite3.DatabaseError when the index cannot be written."""
        with self._transaction():
            values = (module, json.dumps(outcome))
            self._connection.execute("INSERT OR REPLACE INTO imports VALUES (?, ?)", values)


def _owner(source: Source) -> str:
    return f"{source.role}:{source.namespace}"


def _stamp(source: Source, version: str | None) -> str | None:
    """What a source's rows follow from: the file, and who compiled it. None when there is no such file."""
    state = fingerprint(source.path)
    return f"{state} {version} {_compiler()}" if state else state


@lru_cache(maxsize=1)
def _compiler() -> str:
    """The state of the code that compiles: a changed compiler makes other rows of the same file."""
    return " ".join(str(fingerprint(str(Path(__file__).with_name(f"{module}.py")))) for module in _COMPILING_MODULES)
