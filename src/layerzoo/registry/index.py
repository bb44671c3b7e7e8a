"""What the registries say, compiled: rows per source file, replaced in one transaction when the file changes."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerzoo.notices import notify_when_slow
from layerzoo.registry.database import Database, from_json
from layerzoo.registry.source import UNSETTLED, Source, fingerprint, settled_fingerprint

if TYPE_CHECKING:
    from layerzoo.registry.compile import Compiled
    from layerzoo.registry.diagnostics import Diagnostic
    from layerzoo.registry.facets import Facets

FacetsReader = Callable[[dict[str, Any]], "Facets"]

_KEPT_VIEWS = 16
_BATCH = 1000
_COMBINING = "putting models together with those they are built on, once after an installation or an edit …"
_COMPILING_MODULES = (
    *("catalogue", "compile", "diagnostics", "document", "facets", "forms", "heirs", "inherit", "layer_table"),
    *("mistakes", "places", "references", "schema", "words"),
)


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
    """Keeps the rows of a database what the files say."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        for row_id, edition, head in self._database.rows(sql, (*_key(source), _stamp(state, version))):
            return IndexedSource(row_id, source, state, edition, from_json(head))
        return None

    def _compile(self, source: Source, state: str, version: str | None, *, is_catalogue: bool) -> IndexedSource:
        from layerzoo.registry.catalogue import compile_catalogue
        from layerzoo.registry.compile import Compiled, Head, compile_registry
        from layerzoo.registry.published import published_models

        with notify_when_slow(lambda: _indexing(source)), self._database.transaction():
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
        self._database.write("INSERT OR IGNORE INTO sources (path, owner) VALUES (?, ?)", _key(source))
        ((row_id,),) = self._database.rows("SELECT id FROM sources WHERE path = ? AND owner = ?", _key(source))
        self._clear(row_id)
        return int(row_id)

    def _fill(self, row_id: int, stamp: str, compiled: Compiled, read: FacetsReader) -> tuple[str, dict[str, Any]]:
        """Put a source's new rows in. Returns: its edition and its head."""
        head = {name: getattr(compiled.head, name) for name in compiled.head.__slots__}
        is_readable = self._insert_rows(row_id, compiled.rows, read)
        pairs = [(row_id, alias, target) for alias, target in compiled.head.aliases.items()]
        self._database.write_many("INSERT INTO aliases VALUES (?, ?, ?)", pairs)
        # What could not be read may be read by another user, or at the next attempt, though the file stays as it is.
        edition = os.urandom(8).hex()
        values = (stamp if is_readable else UNSETTLED, edition, json.dumps(head), row_id)
        self._database.write("UPDATE sources SET stamp = ?, edition = ?, head = ? WHERE id = ?", values)
        return edition, head

    def _insert_rows(self, source: int, rows: Iterable[dict[str, Any] | Diagnostic], read: FacetsReader) -> bool:
        """Models and diagnostics of a source. Returns whether its file could be read."""
        from layerzoo.registry.diagnostics import Diagnostic

        is_readable = True
        rows = iter(rows)
        while batch := list(islice(rows, _BATCH)):
            diagnostics = [row for row in batch if isinstance(row, Diagnostic)]
            is_readable = is_readable and all(each.code != "unreadable" for each in diagnostics)
            fields = [(source, each.model, json.dumps(dataclasses.asdict(each))) for each in diagnostics]
            self._database.write_many("INSERT INTO diagnostics VALUES (?, ?, ?)", fields)
            self._insert_models(source, [row for row in batch if not isinstance(row, Diagnostic)], read)
        return is_readable

    def _insert_models(self, source: int, models: list[dict[str, Any]], read: FacetsReader) -> None:
        aliases = [(source, alias, plain["id"]) for plain in models for alias in plain.pop("aliases", ())]
        self._database.write_many("INSERT INTO aliases VALUES (?, ?, ?)", aliases)
        ((last,),) = self._database.rows("SELECT coalesce(max(row), 0) FROM models")
        numbered = list(enumerate(models, start=last + 1))
        columns = [
            (row, source, plain["id"], plain.get("base"), plain.get("summary", ""), json.dumps(plain))
            for row, plain in numbered
        ]
        self._database.write_many("INSERT INTO models VALUES (?, ?, ?, ?, ?, ?)", columns)
        # What a model with a base is follows from all sources together: see keep_view.
        shelved = [ShelvedModel.of(row, plain, read(plain)) for row, plain in numbered if "base" not in plain]
        self._insert_facets(source, shelved)

    def _insert_facets(self, scope: int, models: list[ShelvedModel]) -> None:
        from layerzoo.registry.words import pieces

        ((last,),) = self._database.rows("SELECT coalesce(max(row), 0) FROM facets")
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
        self._database.write_many(f"INSERT INTO facets VALUES ({', '.join('?' * 12)})", facets)
        self._database.write_many("INSERT INTO words (rowid, id, summary, facts) VALUES (?, ?, ?, ?)", words)
        self._database.write_many("INSERT INTO names (rowid, id) VALUES (?, ?)", [row[:2] for row in words])

    def _clear(self, source: int) -> None:
        models = "SELECT row FROM models WHERE source = ?"
        self._clear_facets(f"scope = ? OR (scope < 0 AND model IN ({models}))", (source, source))
        for table in ("models", "aliases", "diagnostics"):
            self._database.write(f"DELETE FROM {table} WHERE source = ?", (source,))

    def _clear_facets(self, condition: str, values: Sequence[int]) -> None:
        rows = f"SELECT row FROM facets WHERE {condition}"
        for table in ("words", "names"):
            self._database.write(f"DELETE FROM {table} WHERE rowid IN ({rows})", values)
        self._database.write(f"DELETE FROM facets WHERE {condition}", values)

    def _forget_vanished(self) -> None:
        for row_id, path in self._database.rows("SELECT id, path FROM sources"):
            if not os.path.lexists(path):
                self._clear(row_id)
                self._database.write("DELETE FROM sources WHERE id = ?", (row_id,))

    # ------------------------------------------------------------ what follows from several sources

    def view(self, key: str) -> int | None:
        """The view that was kept under this key."""
        return next((view for (view,) in self._database.rows("SELECT id FROM views WHERE key = ?", (key,))), None)

    def keep_view(self, key: str, models: Iterable[ShelvedModel]) -> int:
        """Keep what a set of sources says together: its models that have a base, in a scope of their own.

        That scope is minus the view. Raises: sqlite3.DatabaseError when the index cannot be written.
        """
        with notify_when_slow(lambda: _COMBINING), self._database.transaction():
            if (known := self.view(key)) is not None:
                return known
            self._database.write("INSERT INTO views (key) VALUES (?)", (key,))
            view = int(self._database.rows("SELECT id FROM views WHERE key = ?", (key,))[0][0])
            rest = iter(models)
            while batch := list(islice(rest, _BATCH)):
                self._insert_facets(-view, batch)
            self._forget_views_before(view - _KEPT_VIEWS)
            return view

    def _forget_views_before(self, view: int) -> None:
        self._clear_facets("scope < 0 AND scope > ?", (-view,))
        self._database.write("DELETE FROM views WHERE id < ?", (view,))


def _indexing(source: Source) -> str:
    size = ""
    if source.path.endswith(".jsonl"):
        with Path(source.path).open("rb") as lines:
            size = f" ({sum(1 for _ in lines):,} models)"
    return f"indexing {source.namespace}{size}, once after an installation or an edit …"


def _reader(source: Source) -> FacetsReader:
    from layerzoo.registry.facets import facets_of, published_facets

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
