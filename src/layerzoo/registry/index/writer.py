"""Write the index: compile a file that has changed and replace its rows in one transaction."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from layerzoo.notices import notify_when_slow
from layerzoo.registry.format.source import RACY, RegistrySource, stable_fingerprint
from layerzoo.registry.index.database import Database, from_json
from layerzoo.registry.index.query import called, pieces
from layerzoo.registry.index.visibility import IndexedSource, listed

if TYPE_CHECKING:
    from layerzoo.registry.format.compiled import Compiled, Facets
    from layerzoo.registry.format.diagnostics import Diagnostic

CompileSource = Callable[[RegistrySource, str | None, bool], "Compiled"]
"""See :func:`layerzoo.registry.format.compile.compile_source`, which imports pydantic and yaml."""
FacetsReader = Callable[[dict[str, Any]], "Facets"]

_KEPT_VIEWS = 16
_BATCH = 1000
_COMBINING = "resolving the models that have a base, once after an installation or an edit …"
_COMPILER_FOLDERS = ("registry/format", "registry/index")
_COMPILER_FILES = ("errors.py", "frame_sampling.py", "layers.py", "pooling.py", "spec.py")
"""The code that decides what the index holds. A test compares both with what compiling imports."""
_PACKAGE = Path(__file__).parents[2]


class IndexedModel(NamedTuple):
    """The searchable fields of a model."""

    row: int
    """The number of its row in the table of models."""
    id: str
    summary: str
    facets: Facets

    @classmethod
    def of(cls, row: int, model: dict[str, Any], facets: Facets) -> IndexedModel:
        return cls(row, model["id"], model.get("summary", ""), facets)


class Index:
    """Updates the rows of the index when the files change."""

    def __init__(self, database: Database, compile_source: CompileSource) -> None:
        self._database = database
        self._compile_source = compile_source

    # ------------------------------------------------------------ sources

    def update(self, sources: Sequence[RegistrySource], version: str | None) -> list[IndexedSource]:
        """Compile the files that have changed, and return all files, each followed by its catalogue.

        Args:
            sources: the files.
            version: layerzoo's own version; None if it is unknown.
        Raises: sqlite3.DatabaseError if the index can neither be read nor written.
        """
        indexed_sources: list[IndexedSource] = []
        for source in sources:
            if (indexed := self._updated(source, version, is_catalogue=False)) is None:
                continue
            indexed_sources.append(indexed)
            if catalogue := indexed.head["catalogue"]:
                beside = RegistrySource(catalogue, source.role, source.namespace, source.distribution)
                indexed_sources += [each for each in [self._updated(beside, version, is_catalogue=True)] if each]
        return indexed_sources

    def _updated(self, source: RegistrySource, version: str | None, *, is_catalogue: bool) -> IndexedSource | None:
        state = stable_fingerprint(source.path)
        if state is None:
            return None
        if (indexed := self._stored(source, state, version)) is None:
            indexed = self._compile(source, state, version, is_catalogue=is_catalogue)
        return indexed

    def _stored(self, source: RegistrySource, state: str, version: str | None) -> IndexedSource | None:
        if state == RACY:
            return None
        sql = "SELECT id, edition, head FROM sources WHERE path = ? AND owner = ? AND stamp = ?"
        for row_id, edition, head in self._database.rows(sql, (*_key(source), _stamp(state, version))):
            return IndexedSource(row_id, source, state, edition, from_json(head))
        return None

    def _compile(self, source: RegistrySource, state: str, version: str | None, *, is_catalogue: bool) -> IndexedSource:
        with notify_when_slow(lambda: _indexing(source)), self._database.transaction():
            # Another process may have compiled it while this one waited for its turn.
            if stored := self._stored(source, state, version):
                return stored
            self._forget_vanished()
            row_id = self._emptied(
                source
            )  # first, so that an index that cannot be written fails before the compilation
            compiled = self._compile_source(source, version, is_catalogue)
            stamp = _stamp(state, version)
            edition, head = self._fill(row_id, stamp, compiled, _reader(source))
            return IndexedSource(row_id, source, state, edition, head)

    def _emptied(self, source: RegistrySource) -> int:
        """Delete the rows of a file, but not its id, which other processes may be using."""
        self._database.write("INSERT OR IGNORE INTO sources (path, owner) VALUES (?, ?)", _key(source))
        ((row_id,),) = self._database.rows("SELECT id FROM sources WHERE path = ? AND owner = ?", _key(source))
        self._clear(row_id)
        return int(row_id)

    def _fill(
        self, row_id: int, stamp: str, compiled: Compiled, read_facets: FacetsReader
    ) -> tuple[str, dict[str, Any]]:
        """Insert the rows of a file. Return its edition and its head."""
        head = {name: getattr(compiled.head, name) for name in compiled.head.__slots__}
        pairs = [(row_id, alias, target) for alias, target in compiled.head.aliases.items()]
        self._database.write_many("INSERT INTO aliases VALUES (?, ?, ?)", pairs)  # first: models are found by them
        is_readable = self._insert_rows(row_id, compiled.rows, read_facets)
        # A file that could not be read may be readable later, or by another user, without a change of the file.
        edition = os.urandom(8).hex()
        values = (stamp if is_readable else RACY, edition, json.dumps(head), row_id)
        self._database.write("UPDATE sources SET stamp = ?, edition = ?, head = ? WHERE id = ?", values)
        return edition, head

    def _insert_rows(self, source: int, rows: Iterable[dict[str, Any] | Diagnostic], read_facets: FacetsReader) -> bool:
        """Insert the models and diagnostics of a file. Return whether the file could be read."""
        from layerzoo.registry.format.diagnostics import Diagnostic

        is_readable = True
        rows = iter(rows)
        while batch := list(islice(rows, _BATCH)):
            diagnostics = [row for row in batch if isinstance(row, Diagnostic)]
            is_readable = is_readable and all(diagnostic.code != "unreadable" for diagnostic in diagnostics)
            fields = [
                (source, diagnostic.model, json.dumps(dataclasses.asdict(diagnostic))) for diagnostic in diagnostics
            ]
            self._database.write_many("INSERT INTO diagnostics VALUES (?, ?, ?)", fields)
            self._insert_models(source, [row for row in batch if not isinstance(row, Diagnostic)], read_facets)
        return is_readable

    def _insert_models(self, source: int, models: list[dict[str, Any]], read_facets: FacetsReader) -> None:
        aliases = [(source, alias, model["id"]) for model in models for alias in model.pop("aliases", ())]
        self._database.write_many("INSERT INTO aliases VALUES (?, ?, ?)", aliases)
        ((last,),) = self._database.rows("SELECT coalesce(max(row), 0) FROM models")
        numbered = list(enumerate(models, start=last + 1))
        columns = [
            (row, source, model["id"], model.get("base"), model.get("summary", ""), json.dumps(model))
            for row, model in numbered
        ]
        self._database.write_many("INSERT INTO models VALUES (?, ?, ?, ?, ?, ?)", columns)
        # Models with a base depend on other files too: see keep_view.
        searchable = [IndexedModel.of(row, model, read_facets(model)) for row, model in numbered if "base" not in model]
        self._insert_facets(source, searchable)

    def _insert_facets(self, scope: int, models: list[IndexedModel]) -> None:
        from layerzoo.registry.index.vocabulary import (
            SYNONYMS,
            architecture_words,
            covered_languages,
            described,
            task_words,
        )

        ((last,),) = self._database.rows("SELECT coalesce(max(row), 0) FROM facets")
        aliases = self._aliases_of(models)
        facets, words = [], []
        for row, model in enumerate(models, start=last + 1):
            is_ = model.facets
            facets.append(
                (
                    *(row, scope, model.row, model.id, is_.modality, is_.builder, is_.license, is_.params, is_.width),
                    *(is_.size_px or (None, None)),
                    is_.rate_hz,
                    *(" ".join(values) or None for values in (is_.tasks, is_.trained_on, is_.languages)),
                    " ".join(map(called, names := (model.id, *aliases.get(model.row, ())))),
                    min(map(len, names)),
                    is_.has_weights,
                )
            )
            facts = (
                f"{is_.modality} {SYNONYMS.get(is_.modality, '')} {is_.builder or ''} {is_.license or ''} "
                f"{' '.join(is_.trained_on)} {described(is_.languages)}"
            )
            other_names = f"{' '.join(names[1:])} {architecture_words(pieces(model.id))}"
            tasks = task_words(is_.modality, is_.tasks)
            texts = (model.id, other_names, tasks, model.summary, facts, covered_languages(is_.languages))
            words.append((row, *(" ".join(pieces(text)) for text in texts)))
        self._database.write_many(f"INSERT INTO facets VALUES ({', '.join('?' * 18)})", facets)
        columns = "rowid, id, aliases, tasks, summary, facts, covered"
        self._database.write_many(f"INSERT INTO words ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", words)
        self._database.write_many("INSERT INTO names (rowid, id, aliases) VALUES (?, ?, ?)", [row[:3] for row in words])

    def _aliases_of(self, models: list[IndexedModel]) -> dict[int, list[str]]:
        """Return the aliases that the file of each model declares for it, by the number of the model's row."""
        sql = (
            "SELECT m.row, a.alias FROM models AS m JOIN aliases AS a ON a.target = m.id AND a.source = m.source "
            f"WHERE m.row IN ({listed(model.row for model in models)}) ORDER BY a.alias"
        )
        aliases: dict[int, list[str]] = {}
        for row, alias in self._database.rows(sql):
            aliases.setdefault(row, []).append(alias)
        return aliases

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

    # ------------------------------------------------------------ views: models that depend on several files

    def view(self, key: str) -> int | None:
        """Return the number of the view that was stored under this key; None if there is none."""
        return next((view for (view,) in self._database.rows("SELECT id FROM views WHERE key = ?", (key,))), None)

    def keep_view(self, key: str, models: Iterable[IndexedModel]) -> int:
        """Store the inherited models of a set of files in a separate scope, whose number is minus that of the view.

        Args:
            key: identifies the set of files and their state.
            models: the models that have a base, including what they inherit.
        Raises: sqlite3.DatabaseError if the index cannot be written.
        """
        with notify_when_slow(lambda: _COMBINING), self._database.transaction():
            if (stored_view := self.view(key)) is not None:
                return stored_view
            self._database.write("INSERT INTO views (key) VALUES (?)", (key,))
            view = int(self._database.rows("SELECT id FROM views WHERE key = ?", (key,))[0][0])
            remaining = iter(models)
            while batch := list(islice(remaining, _BATCH)):
                self._insert_facets(-view, batch)
            self._forget_views_before(view - _KEPT_VIEWS)
            return view

    def _forget_views_before(self, view: int) -> None:
        self._clear_facets("scope < 0 AND scope > ?", (-view,))
        self._database.write("DELETE FROM views WHERE id < ?", (view,))


def _indexing(source: RegistrySource) -> str:
    size = ""
    if source.path.endswith(".jsonl"):
        with Path(source.path).open("rb") as lines:
            size = f" ({sum(1 for _ in lines):,} models)"
    return f"indexing {source.namespace}{size}, once after an installation or an edit …"


def _reader(source: RegistrySource) -> FacetsReader:
    from layerzoo.registry.format.compiled import facets_of, published_facets

    return published_facets if source.role == "published" else facets_of


def _key(source: RegistrySource) -> tuple[bytes, str]:
    """Return the key of a file in the index. A path need not be valid text, so it is stored as bytes."""
    return os.fsencode(source.path), f"{source.role}:{source.namespace}"


def _stamp(state: str, version: str | None) -> str:
    """Return what the rows of a file depend on: its fingerprint and the code that compiled it."""
    return RACY if state == RACY else f"{state} {version} {compiler_version()}"


@lru_cache(maxsize=1)
def compiler_version() -> str:
    """Return a text that changes when the code of the compiler or of the index changes.

    Rows that were made by other code are compiled again. The modules are not read: their times of change and sizes
    suffice, and take less than 0.1 ms.
    """
    states = ((name, os.stat(path)) for name, path in sorted(compiler_files().items()))  # noqa: PTH116 - hot
    return " ".join(f"{name}:{state.st_mtime_ns}.{state.st_ctime_ns}.{state.st_size}" for name, state in states)


def compiler_files() -> dict[str, str]:
    """Return the paths of the modules whose code decides what the index holds, by their names below the package."""
    files = {name: f"{_PACKAGE}/{name}" for name in _COMPILER_FILES}
    for folder in _COMPILER_FOLDERS:
        with os.scandir(f"{_PACKAGE}/{folder}") as entries:
            files |= {f"{folder}/{entry.name}": entry.path for entry in entries if entry.name.endswith(".py")}
    return files
