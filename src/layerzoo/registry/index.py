"""The compiled registries: one SQLite file in the cache directory, rows per source file.

A source's rows are replaced in one transaction when the file's times or size change. Everything in it can be made
again: a damaged file is, and where the cache directory is missing, full or read-only, an index in memory gives the same
answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerzoo.notices import told_when_slow
from layerzoo.registry.diagnostics import Diagnostic
from layerzoo.registry.facets import Facets, facets_of, published_facets
from layerzoo.registry.source import UNSETTLED, Source, fingerprint, settled_fingerprint
from layerzoo.registry.words import pieces

if TYPE_CHECKING:
    from layerzoo.registry.compile import Compiled

# A new table, column or kind of row gets a file of its own, so that two versions of layerzoo do not fight over one.
FILE_NAME = "registry-2.sqlite3"
_VERSION = 2
_WAIT_S = 300.0
"""How long to wait for another process that is compiling: 100,000 models take 20 s, and 50 s on a busy machine."""
_NOTE_WAIT_S = 0.1
"""How long to wait before a note is not taken: what nobody needs is not worth waiting for."""
FacetsReader = Callable[[dict[str, Any]], Facets]

_KEPT_SCANS = 32
_KEPT_VIEWS = 16
_BATCH = 1000
_COMBINING = "putting models together with those they are built on, once after an installation or an edit …"
_COMPILING_MODULES = (
    *("compile", "diagnostics", "document", "facets", "forms", "heirs", "inherit", "mistakes", "places", "references"),
    *("schema", "words"),
)

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


@dataclass(frozen=True, slots=True)
class IndexedSource:
    """A source that is in the index."""

    id: int
    source: Source
    state: str
    """The fingerprint of the file that the rows were made of."""
    edition: str
    """Changes whenever the rows are made again."""
    head: dict[str, Any]
    """The fields of :class:`layerzoo.registry.compile.Head`."""

    @property
    def builders(self) -> list[str]:
        return list(self.head["builders"])


@dataclass(frozen=True, slots=True)
class ShelvedModel:
    """A model as it is put where it can be found."""

    row: int
    """Of the table of models."""
    id: str
    summary: str
    facets: Facets

    @classmethod
    def of(cls, row: int, plain: dict[str, Any], facets: Facets) -> ShelvedModel:
        return cls(row, plain["id"], plain.get("summary", ""), facets)


class Index:
    """The tables. Safe to use from several threads; several processes may share the file."""

    def __init__(self, connection: sqlite3.Connection, folder: Path | None) -> None:
        self._connection = connection
        self._folder = folder

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
        if self._folder is not None and isinstance(error, sqlite3.ProgrammingError):  # it was closed: see after_fork
            return self.open(self._folder)
        return self._instead(self._folder, error)

    @classmethod
    def _instead(cls, folder: Path | None, error: sqlite3.DatabaseError) -> Index:
        if folder is None:
            return cls.in_memory()
        if _is_circumstance(error):
            return cls._copied(folder)
        with contextlib.suppress(OSError, sqlite3.DatabaseError):
            (folder / FILE_NAME).unlink(missing_ok=True)
            return cls._connected(folder)
        return cls.in_memory()

    @classmethod
    def _connected(cls, folder: Path | None) -> Index:
        path = ":memory:" if folder is None else str(folder / FILE_NAME)
        with _using:
            return cls(cls._connection_to(path), folder)

    @staticmethod
    def _connection_to(path: str) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        try:
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
    def _copied(cls, folder: Path) -> Index:
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
        """What a query finds. Raises: sqlite3.DatabaseError."""
        with _using:
            return self._connection.execute(sql, values).fetchall()

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
        state = settled_fingerprint(source.path)
        if state is None:
            return None
        if (known := self._known(source, state, version)) is None:
            known = self._compile(source, state, version, is_catalogue=is_catalogue)
        return known

    def _known(self, source: Source, state: str, version: str | None) -> IndexedSource | None:
        if state == UNSETTLED:
            return None
        sql = "SELECT id, edition, head FROM sources WHERE path = ? AND owner = ? AND stamp = ?"
        for row_id, edition, head in self.rows(sql, (*_key(source), _stamp(state, version))):
            return IndexedSource(row_id, source, state, edition, from_json(head))
        return None

    def _compile(self, source: Source, state: str, version: str | None, *, is_catalogue: bool) -> IndexedSource:
        from layerzoo.registry.compile import Compiled, Head, compile_catalogue, compile_registry
        from layerzoo.registry.published import published_models

        with told_when_slow(lambda: _indexing(source)), self._transaction(_WAIT_S):
            # Another process may have compiled it while this one waited for its turn.
            if known := self._known(source, state, version):
                return known
            self._forget_vanished()
            row_id = self._emptied(source)  # first, so that an index that cannot be written is told before the work
            if source.role == "published":
                compiled = Compiled(Head(), published_models(source.path))
            elif is_catalogue:
                compiled = Compiled(Head(), compile_catalogue(source))
            else:
                compiled = compile_registry(source, version)
            stamp = _stamp(state, version)
            edition, head = self._fill(row_id, stamp, compiled, _reader(source))
            return IndexedSource(row_id, source, state, edition, head)

    def _emptied(self, source: Source) -> int:
        """Take a source's old rows out. Its id stays, for those who still use it."""
        self._connection.execute("INSERT OR IGNORE INTO sources (path, owner) VALUES (?, ?)", _key(source))
        ((row_id,),) = self.rows("SELECT id FROM sources WHERE path = ? AND owner = ?", _key(source))
        self._clear(row_id)
        return int(row_id)

    def _fill(self, row_id: int, stamp: str, compiled: Compiled, read: FacetsReader) -> tuple[str, dict[str, Any]]:
        """Put a source's new rows in. Returns: its edition and its head."""
        head = {name: getattr(compiled.head, name) for name in compiled.head.__slots__}
        is_readable = self._insert_rows(row_id, compiled.rows, read)
        pairs = [(row_id, alias, target) for alias, target in compiled.head.aliases.items()]
        self._connection.executemany("INSERT INTO aliases VALUES (?, ?, ?)", pairs)
        # What could not be read may be read by another user, or at the next attempt, though the file stays as it is.
        edition = os.urandom(8).hex()
        values = (stamp if is_readable else UNSETTLED, edition, json.dumps(head), row_id)
        self._connection.execute("UPDATE sources SET stamp = ?, edition = ?, head = ? WHERE id = ?", values)
        return edition, head

    def _insert_rows(self, source: int, rows: Iterable[dict[str, Any] | Diagnostic], read: FacetsReader) -> bool:
        """Models and diagnostics of a source. Returns whether its file could be read."""
        is_readable = True
        rows = iter(rows)
        while batch := list(islice(rows, _BATCH)):
            diagnostics = [row for row in batch if isinstance(row, Diagnostic)]
            is_readable = is_readable and all(each.code != "unreadable" for each in diagnostics)
            fields = [(source, each.model, json.dumps(dataclasses.asdict(each))) for each in diagnostics]
            self._connection.executemany("INSERT INTO diagnostics VALUES (?, ?, ?)", fields)
            self._insert_models(source, [row for row in batch if not isinstance(row, Diagnostic)], read)
        return is_readable

    def _insert_models(self, source: int, models: list[dict[str, Any]], read: FacetsReader) -> None:
        ((last,),) = self.rows("SELECT coalesce(max(row), 0) FROM models")
        numbered = list(enumerate(models, start=last + 1))
        columns = [
            (row, source, plain["id"], plain.get("base"), plain.get("summary", ""), json.dumps(plain))
            for row, plain in numbered
        ]
        self._connection.executemany("INSERT INTO models VALUES (?, ?, ?, ?, ?, ?)", columns)
        # What a model with a base is follows from all sources together: see keep_view.
        shelved = [ShelvedModel.of(row, plain, read(plain)) for row, plain in numbered if "base" not in plain]
        self._insert_facets(source, shelved)

    def _insert_facets(self, scope: int, models: list[ShelvedModel]) -> None:
        ((last,),) = self.rows("SELECT coalesce(max(row), 0) FROM facets")
        facets, words = [], []
        for row, each in enumerate(models, start=last + 1):
            is_ = each.facets
            facets.append(
                (
                    *(row, scope, each.row, each.id, is_.modality, is_.builder, is_.license, is_.params, is_.width),
                    *(is_.size_px or (None, None)),
                    is_.rate_hz,
                )
            )
            facts = f"{is_.modality} {is_.builder or ''} {is_.license or ''}"
            words.append((row, *(" ".join(pieces(text)) for text in (each.id, each.summary, facts))))
        self._connection.executemany(f"INSERT INTO facets VALUES ({', '.join('?' * 12)})", facets)
        self._connection.executemany("INSERT INTO words (rowid, id, summary, facts) VALUES (?, ?, ?, ?)", words)
        self._connection.executemany("INSERT INTO names (rowid, id) VALUES (?, ?)", [row[:2] for row in words])

    def _clear(self, source: int) -> None:
        models = "SELECT row FROM models WHERE source = ?"
        self._clear_facets(f"scope = ? OR (scope < 0 AND model IN ({models}))", (source, source))
        for table in ("models", "aliases", "diagnostics"):
            self._connection.execute(f"DELETE FROM {table} WHERE source = ?", (source,))

    def _clear_facets(self, condition: str, values: Sequence[int]) -> None:
        rows = f"SELECT row FROM facets WHERE {condition}"
        for table in ("words", "names"):
            self._connection.execute(f"DELETE FROM {table} WHERE rowid IN ({rows})", values)
        self._connection.execute(f"DELETE FROM facets WHERE {condition}", values)

    def _forget_vanished(self) -> None:
        for row_id, path in self.rows("SELECT id, path FROM sources"):
            if not os.path.lexists(path):
                self._clear(row_id)
                self._connection.execute("DELETE FROM sources WHERE id = ?", (row_id,))

    # ------------------------------------------------------------ what follows from several sources

    def view(self, key: str) -> int | None:
        """The view that was kept under this key."""
        return next((view for (view,) in self.rows("SELECT id FROM views WHERE key = ?", (key,))), None)

    def keep_view(self, key: str, models: Iterable[ShelvedModel]) -> int:
        """Keep what a set of sources says together: its models that have a base, in a scope of their own.

        That scope is minus the view. Raises: sqlite3.DatabaseError when the index cannot be written.
        """
        with told_when_slow(lambda: _COMBINING), self._transaction(_WAIT_S):
            if (known := self.view(key)) is not None:
                return known
            self._connection.execute("INSERT INTO views (key) VALUES (?)", (key,))
            view = int(self.rows("SELECT id FROM views WHERE key = ?", (key,))[0][0])
            rest = iter(models)
            while batch := list(islice(rest, _BATCH)):
                self._insert_facets(-view, batch)
            self._forget_views_before(view - _KEPT_VIEWS)
            return view

    def _forget_views_before(self, view: int) -> None:
        self._clear_facets("scope < 0 AND scope > ?", (-view,))
        self._connection.execute("DELETE FROM views WHERE id < ?", (view,))

    def loose_ends(self, key: str) -> list[dict[str, Any]] | None:
        """What was kept under this key."""
        for (found,) in self.rows("SELECT found FROM loose_ends WHERE key = ?", (key,)):
            return list(from_json(found))
        return None

    def keep_loose_ends(self, key: str, found: list[dict[str, Any]]) -> None:
        """Raises: sqlite3.DatabaseError when the index cannot be written."""
        with self._transaction(_NOTE_WAIT_S):
            self._connection.execute("INSERT OR REPLACE INTO loose_ends VALUES (?, ?)", (key, json.dumps(found)))
            newest = f"SELECT rowid FROM loose_ends ORDER BY rowid DESC LIMIT {_KEPT_VIEWS}"
            self._connection.execute(f"DELETE FROM loose_ends WHERE rowid NOT IN ({newest})")

    @contextlib.contextmanager
    def _transaction(self, wait_s: float) -> Iterator[None]:
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

    # ------------------------------------------------------------ what is installed, and how imports went

    def scan(self, paths: str, times: str) -> Any:
        """What was found in these folders when they last had these times of change; None when they have others."""
        for (found,) in self.rows("SELECT found FROM scans WHERE paths = ? AND times = ?", (paths, times)):
            return from_json(found)
        return None

    def keep_scan(self, paths: str, times: str, found: Any) -> None:
        """Raises: sqlite3.DatabaseError when the index cannot be written."""
        with self._transaction(_NOTE_WAIT_S):
            values = (paths, times, json.dumps(found))
            self._connection.execute("INSERT OR REPLACE INTO scans VALUES (?, ?, ?)", values)
            newest = f"SELECT rowid FROM scans ORDER BY rowid DESC LIMIT {_KEPT_SCANS}"
            self._connection.execute(f"DELETE FROM scans WHERE rowid NOT IN ({newest})")

    def outcome(self, module: str) -> dict[str, Any] | None:
        """How the import of a plugin's module went last, as it was kept; None when it was never tried."""
        for (outcome,) in self.rows("SELECT outcome FROM imports WHERE module = ?", (os.fsencode(module),)):
            return dict(from_json(outcome))
        return None

    def keep_outcome(self, module: str, outcome: dict[str, Any]) -> None:
        """Raises: sqlite3.DatabaseError when the index cannot be written."""
        with self._transaction(_NOTE_WAIT_S):
            values = (os.fsencode(module), json.dumps(outcome))
            self._connection.execute("INSERT OR REPLACE INTO imports VALUES (?, ?)", values)


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


def _indexing(source: Source) -> str:
    size = ""
    if source.path.endswith(".jsonl"):
        with Path(source.path).open("rb") as lines:
            size = f" ({sum(1 for _ in lines):,} models)"
    return f"indexing {source.namespace}{size}, once after an installation or an edit …"


def _reader(source: Source) -> FacetsReader:
    return published_facets if source.role == "published" else facets_of


def _key(source: Source) -> tuple[bytes, str]:
    """By what a source is found. A path need not be text."""
    return os.fsencode(source.path), f"{source.role}:{source.namespace}"


def _stamp(state: str, version: str | None) -> str:
    """What a source's rows follow from: the file, and who compiled it."""
    return UNSETTLED if state == UNSETTLED else f"{state} {version} {compiler()}"


@lru_cache(maxsize=1)
def compiler() -> str:
    """The state of the code that compiles: changed, it makes other rows of the same file."""
    return " ".join(str(fingerprint(str(Path(__file__).with_name(f"{module}.py")))) for module in _COMPILING_MODULES)
