"""The SQLite file in the cache directory, and what is done where it is damaged, locked, full or not there.

Everything in it can be made again: a damaged file is, and where the cache directory is missing, full or read-only, a
database in memory gives the same answers.
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
_VERSION = 2
FILE_NAME = index_name(_VERSION)
_WAIT_S = 300.0
"""How long to wait for another process that is compiling: 100,000 models take 20 s, and 50 s on a busy machine."""

# What says nothing about the file, only about what may be done to it here and now. Anything else means damage: SQLite's
# own word for it, or a table, a column or a text that is not what it was.
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
    license TEXT COLLATE NOCASE, params INTEGER, width INTEGER, height_px INTEGER, breadth_px INTEGER, rate_hz INTEGER);
CREATE INDEX IF NOT EXISTS facets_by_id ON facets (id, scope);
CREATE VIRTUAL TABLE IF NOT EXISTS names USING fts5 (id);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (id, summary, facts, detail = column);
CREATE TABLE IF NOT EXISTS views (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS loose_ends (key TEXT PRIMARY KEY, found TEXT);
CREATE TABLE IF NOT EXISTS aliases (source INTEGER, alias TEXT, target TEXT, UNIQUE (source, alias));
CREATE INDEX IF NOT EXISTS aliases_by_target ON aliases (target);
CREATE TABLE IF NOT EXISTS diagnostics (source INTEGER, model TEXT, fields TEXT);
CREATE INDEX IF NOT EXISTS diagnostics_by_model ON diagnostics (model);
CREATE TABLE IF NOT EXISTS scans (paths TEXT PRIMARY KEY, times TEXT, found TEXT);
CREATE TABLE IF NOT EXISTS imports (module BLOB PRIMARY KEY, outcome TEXT);
"""


class Database:
    """Safe to use from several threads; several processes may share the file. Methods raise sqlite3.DatabaseError."""

    def __init__(self, connection: sqlite3.Connection, folder: Path | None) -> None:
        self._connection = connection
        self._folder = folder

    @classmethod
    def open(cls, folder: Path) -> Database:
        """The file in a folder, made where it is missing and made again where it is damaged; else one in memory."""
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            return cls._connected(folder)
        except sqlite3.DatabaseError as error:
            return cls._instead(folder, error)

    @classmethod
    def in_memory(cls) -> Database:
        """A database that nobody else sees and that is gone with the process."""
        return cls._connected(None)

    def instead(self, error: sqlite3.DatabaseError) -> Database:
        """Another one to go on with after this one failed."""
        self.close()
        if self._folder is not None and isinstance(error, sqlite3.ProgrammingError):  # it was closed: see after_fork
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
            # A large transaction stays in memory until it is committed: pages that are written before keep readers out.
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
        """In memory, with what the file in a folder knows: what has not changed need not be compiled at every start."""
        copy = cls.in_memory()
        file = f"{(folder / FILE_NAME).absolute().as_uri()}?mode=ro"
        with (
            _using,
            contextlib.suppress(sqlite3.DatabaseError),
            contextlib.closing(sqlite3.connect(file, uri=True)) as kept,
        ):
            if kept.execute("PRAGMA user_version").fetchone() == (_VERSION,):
                kept.backup(copy._connection)
        return copy

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with _using:
            return self._connection.execute(sql, values).fetchall()

    def write(self, sql: str, values: Sequence[Any] = ()) -> None:
        """One change, within a transaction."""
        with _using:
            self._connection.execute(sql, values)

    def write_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """The same change with many values, within a transaction."""
        with _using:
            self._connection.executemany(sql, rows)

    def close(self) -> None:
        with _using:
            self._connection.close()

    def after_fork(self) -> None:
        """Leave the connection to the parent process. What uses it from now on is told that it is closed.

        A connection to SQLite cannot be carried over a fork, and closing it here could undo what the parent writes.
        """
        _left_to_parent.append(self._connection)
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self, wait_s: float = _WAIT_S) -> Iterator[None]:
        """All or nothing of what is done inside. wait_s: for another process that is writing."""
        with _using:
            self._connection.execute(f"PRAGMA busy_timeout = {wait_s * 1000:.0f}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # after some errors SQLite has rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise


_left_to_parent: list[sqlite3.Connection] = []

# Held by the one thread of this process that uses SQLite. A fork waits for it: to the child, a lock of SQLite's own
# that a thread held would be held for ever.
_using = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_using.acquire, after_in_parent=_using.release, after_in_child=_using.release)


def from_json(text: str) -> Any:
    """What was written into the index. Raises: sqlite3.DatabaseError when it is damaged."""
    try:
        return json.loads(text)
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"a row of the index is damaged: {error}") from None


def _is_circumstance(error: sqlite3.DatabaseError) -> bool:
    """Whether an error is about what may be done here and now: the file is locked, full, not ours to write."""
    # The errors of Python's own module have no code; an extended one tells more in its higher bits.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _CIRCUMSTANCES
