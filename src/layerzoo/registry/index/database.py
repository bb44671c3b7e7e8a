"""The SQLite file in the cache directory, and what replaces it if it is damaged, locked or not writable.

All of its content can be recomputed. A damaged file is replaced. If the cache directory cannot be used, a database in
memory returns the same answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from layerzoo.paths import index_name

# A new table, column or kind of row gets a file of its own, so that two versions of layerzoo do not fight over one.
_VERSION = 6
FILE_NAME = index_name(_VERSION)
_WAIT_S = 300.0
"""How long to wait for another process that compiles files: 100,000 models take 20 s, and 50 s on a busy machine."""

# Errors that do not mean that the file is damaged. All others do, for example a missing table or column.
_CIRCUMSTANCES = {
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}

_TABLES = """
CREATE TABLE IF NOT EXISTS sources (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB, owner TEXT, stamp TEXT, edition TEXT, head TEXT,
    UNIQUE (path, owner));
CREATE TABLE IF NOT EXISTS models (
    row INTEGER PRIMARY KEY, source INTEGER, id TEXT, base TEXT, summary TEXT, spec TEXT, UNIQUE (source, id));
CREATE INDEX IF NOT EXISTS models_by_id ON models (id, source);
CREATE INDEX IF NOT EXISTS models_with_base ON models (source) WHERE base IS NOT NULL;
CREATE TABLE IF NOT EXISTS facets (
    row INTEGER PRIMARY KEY, scope INTEGER, model INTEGER, id TEXT, modality TEXT, builder TEXT,
    license TEXT COLLATE NOCASE, params INTEGER, width INTEGER, height_px INTEGER, breadth_px INTEGER, rate_hz INTEGER,
    tasks TEXT, trained_on TEXT, languages TEXT, called TEXT, brevity INTEGER, has_weights INTEGER);
CREATE INDEX IF NOT EXISTS facets_by_id ON facets (id, scope);
CREATE VIRTUAL TABLE IF NOT EXISTS names USING fts5 (id, aliases);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (id, aliases, tasks, summary, facts, covered, detail = column);
CREATE TABLE IF NOT EXISTS views (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS dangling_references (key TEXT PRIMARY KEY, found TEXT);
CREATE TABLE IF NOT EXISTS aliases (source INTEGER, alias TEXT, target TEXT, UNIQUE (source, alias));
CREATE INDEX IF NOT EXISTS aliases_by_target ON aliases (target);
CREATE TABLE IF NOT EXISTS diagnostics (source INTEGER, model TEXT, fields TEXT);
CREATE INDEX IF NOT EXISTS diagnostics_by_model ON diagnostics (model);
CREATE TABLE IF NOT EXISTS scans (paths TEXT PRIMARY KEY, times TEXT, found TEXT);
CREATE TABLE IF NOT EXISTS imports (module BLOB PRIMARY KEY, outcome TEXT);
"""


class Database:
    """A thread-safe connection to a file that processes may share. Methods raise sqlite3.DatabaseError."""

    def __init__(self, connection: sqlite3.Connection, folder: Path | None) -> None:
        self._connection = connection
        self._folder = folder

    @classmethod
    def open(cls, folder: Path) -> Database:
        """Open the file in a folder, or a database in memory if that fails. A missing or damaged file is created."""
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            return cls._connected(folder)
        except sqlite3.DatabaseError as error:
            return cls._instead(folder, error)

    @classmethod
    def in_memory(cls) -> Database:
        """Return a database in memory."""
        return cls._connected(None)

    def instead(self, error: sqlite3.DatabaseError) -> Database:
        """Close this database after an error and return another one."""
        self.close()
        if self._folder is not None and isinstance(
            error, sqlite3.ProgrammingError
        ):  # the connection was closed by after_fork
            return self.open(self._folder)
        return self._instead(self._folder, error)

    @classmethod
    def _instead(cls, folder: Path | None, error: sqlite3.DatabaseError) -> Database:
        if folder is None:
            return cls.in_memory()
        if _is_circumstance(error):
            return cls._copied(folder)
        with contextlib.suppress(OSError, sqlite3.DatabaseError):
            (folder / FILE_NAME).unlink(missing_ok=True)
            return cls._connected(folder)
        return cls.in_memory()

    @classmethod
    def _connected(cls, folder: Path | None) -> Database:
        path = ":memory:" if folder is None else str(folder / FILE_NAME)
        with _using:
            return cls(cls._connection_to(path), folder)

    @staticmethod
    def _connection_to(path: str) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            # Keep a large transaction in memory until it is committed: pages that are written earlier lock readers out.
            connection.execute("PRAGMA cache_spill = OFF")
            ((version,),) = connection.execute("PRAGMA user_version")
            if version == 0:
                connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise sqlite3.DatabaseError(f"version {version} in a file of version {_VERSION}")
            # Pages that a long transaction writes early would lock readers out until it ends.
            connection.execute("PRAGMA cache_spill = OFF")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @classmethod
    def _copied(cls, folder: Path) -> Database:
        """Return a copy of the file in memory, so that only changed files have to be compiled."""
        copy = cls.in_memory()
        file = f"{(folder / FILE_NAME).absolute().as_uri()}?mode=ro"
        with (
            _using,
            contextlib.suppress(sqlite3.DatabaseError),
            contextlib.closing(sqlite3.connect(file, uri=True)) as stored,
        ):
            if stored.execute("PRAGMA user_version").fetchone() == (_VERSION,):
                stored.backup(copy._connection)
        return copy

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with _using:
            return self._connection.execute(sql, values).fetchall()

    def write(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Execute one statement, within a transaction."""
        with _using:
            self._connection.execute(sql, values)

    def write_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement once for each row, within a transaction."""
        with _using:
            self._connection.executemany(sql, rows)

    def close(self) -> None:
        with _using:
            self._connection.close()

    def after_fork(self) -> None:
        """Leave the connection to the parent process. Queries of this process then fail, and it is opened again.

        A connection to SQLite cannot be carried over a fork, and closing it here could undo what the parent writes.
        """
        _left_to_parent.append(self._connection)
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self, wait_s: float = _WAIT_S) -> Iterator[None]:
        """Run a transaction. Wait up to ``wait_s`` seconds for another process that is writing."""
        with _using:
            self._connection.execute(f"PRAGMA busy_timeout = {wait_s * 1000:.0f}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # after some errors SQLite has already rolled back
                    self._connection.execute("ROLLBACK")
                raise


_left_to_parent: list[sqlite3.Connection] = []

# Held by the one thread of this process that uses SQLite. A fork waits for it: an internal lock of SQLite that another
# thread holds would never be released in the child.
_using = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_using.acquire, after_in_parent=_using.release, after_in_child=_using.release)


def from_json(text: str) -> Any:
    """Return a value that is stored as JSON. Raises: sqlite3.DatabaseError if it is damaged."""
    try:
        return json.loads(text)
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"a row of the index is damaged: {error}") from None


def _is_circumstance(error: sqlite3.DatabaseError) -> bool:
    """Return whether the file is usable but not accessible now: locked, read-only, or on a full disk."""
    # Errors of Python's sqlite3 module have no code. The higher bits of an extended code are details.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _CIRCUMSTANCES


_RESULT_WAIT_S = 0.1
"""How long to wait for another process before a result is discarded. It only saves time, so waiting is not worth it."""
_KEPT_SCANS = 64
_KEPT_FINDS = 16


class KeptResults:
    """Results that are stored because computing them again would take time.

    A missing result is None. To store one raises sqlite3.DatabaseError if the database cannot be written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def dangling_references(self, key: str) -> list[dict[str, Any]] | None:
        """Return the dangling references that were stored under this key."""
        for (stored,) in self._database.rows("SELECT found FROM dangling_references WHERE key = ?", (key,)):
            return list(from_json(stored))
        return None

    def keep_dangling_references(self, key: str, diagnostics: list[dict[str, Any]]) -> None:
        with self._database.transaction(_RESULT_WAIT_S):
            self._database.write(
                "INSERT OR REPLACE INTO dangling_references VALUES (?, ?)", (key, json.dumps(diagnostics))
            )
            newest = f"SELECT rowid FROM dangling_references ORDER BY rowid DESC LIMIT {_KEPT_FINDS}"
            self._database.write(f"DELETE FROM dangling_references WHERE rowid NOT IN ({newest})")

    def scan(self, paths: str, times: str) -> Any:
        """Return the result that was stored for these folders at these times of change."""
        for (stored,) in self._database.rows("SELECT found FROM scans WHERE paths = ? AND times = ?", (paths, times)):
            return from_json(stored)
        return None

    def keep_scan(self, paths: str, times: str, result: Any) -> None:
        with self._database.transaction(_RESULT_WAIT_S):
            values = (paths, times, json.dumps(result))
            self._database.write("INSERT OR REPLACE INTO scans VALUES (?, ?, ?)", values)
            newest = f"SELECT rowid FROM scans ORDER BY rowid DESC LIMIT {_KEPT_SCANS}"
            self._database.write(f"DELETE FROM scans WHERE rowid NOT IN ({newest})")

    def outcome(self, module: str) -> dict[str, Any] | None:
        """Return the outcome of the last import of a module."""
        for (outcome,) in self._database.rows("SELECT outcome FROM imports WHERE module = ?", (os.fsencode(module),)):
            return dict(from_json(outcome))
        return None

    def keep_outcome(self, module: str, outcome: dict[str, Any]) -> None:
        with self._database.transaction(_RESULT_WAIT_S):
            values = (os.fsencode(module), json.dumps(outcome))
            self._database.write("INSERT OR REPLACE INTO imports VALUES (?, ?)", values)
