"""The part of the index that counts here and now: the models of the sources that are in use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from layerzoo.registry.diagnostics import Diagnostic
from layerzoo.registry.discovery import USER_NAMESPACE, Surroundings
from layerzoo.registry.index import Index, IndexedSource
from layerzoo.registry.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a model must be to be found. None: anything."""

    modality: str | None = None
    plugin: str | None = None
    """A namespace or a distribution."""
    license: str | None = None
    max_params: int | None = None
    text: str | None = None
    """Words; each must begin a word of the id, the summary, the modality, the builder or the license."""


@dataclass(frozen=True, slots=True)
class Row:
    """A model as declared, in plain form, and the source that declares it."""

    source: Source
    spec: dict[str, Any]


class Shelf:
    """Questions to the index, answered from the sources in use. Raises sqlite3.DatabaseError where it cannot answer."""

    def __init__(self, index: Index, surroundings: Surroundings) -> None:
        self._index = index
        sources = index.update(sources_of(surroundings), surroundings.version)
        self.sources = {each.id: each for each in sources}
        self._ids = ", ".join(map(str, self.sources)) or "NULL"
        self._in_use = f"(m.source IN ({self._ids}){self._hidden(sources)}{self._disabled(sources)})"

    # ------------------------------------------------------------ models

    def find(self, model: str) -> Row | None:
        """The model of an id."""
        sql = f"SELECT m.source, m.spec FROM models AS m WHERE m.id = ? AND {self._in_use}"
        return next((self._row(*found) for found in self._index.rows(sql, (model,))), None)

    def select(self, filters: Filters) -> Iterator[Row]:
        """The models that the columns let through, by id, or by rank where words are asked for.

        A model with a base is let through where the column would be inherited: see :meth:`Registry.models`.
        """
        sql, values = self._selection("m.source, m.spec", filters)
        return (self._row(*found) for found in self._index.rows(sql, values))

    def select_ids(self, filters: Filters) -> list[tuple[str, bool]]:
        """As :meth:`select`, but (id, whether it has a base) alone."""
        sql, values = self._selection("m.id, m.base IS NOT NULL", filters)
        return [(model, bool(based)) for model, based in self._index.rows(sql, values)]

    def count(self, source: int) -> int:
        ((number,),) = self._index.rows(
            f"SELECT count(*) FROM models AS m WHERE m.source = ? AND {self._in_use}", (source,)
        )
        return int(number)

    def ids(self, limit: int) -> list[str]:
        """Some ids, and all of them where there are not more than the limit."""
        sql = f"SELECT m.id FROM models AS m WHERE {self._in_use} LIMIT {limit}"
        return [found for (found,) in self._index.rows(sql)]

    def based(self) -> list[Row]:
        """The models that are built on another."""
        sql = f"SELECT m.source, m.spec FROM models AS m WHERE m.base IS NOT NULL AND {self._in_use}"
        return [self._row(*found) for found in self._index.rows(sql)]

    def similar_ids(self, asked: str, limit: int) -> list[str]:
        """Ids that share the beginning of a word with what was asked, the most similar first."""
        match = " OR ".join(f'"{word[:3]}"*' for word in _words(asked))
        sql = (
            f"SELECT m.id FROM words JOIN models AS m ON m.row = words.rowid WHERE words MATCH ? AND {self._in_use} "
            f"ORDER BY bm25(words, 10, 0, 0) LIMIT {limit}"
        )
        return [found for (found,) in self._index.rows(sql, (f"id : ({match})",))] if match else []

    def _selection(self, columns: str, filters: Filters) -> tuple[str, list[Any]]:
        tables, order = "models AS m", "m.id"
        conditions = [self._in_use]
        values: list[Any] = []
        if filters.modality is not None:
            conditions.append("m.modality = ?")
            values.append(filters.modality)
        if filters.plugin is not None:
            conditions.append(f"m.source IN ({self._ids_of(filters.plugin)})")
        if filters.license is not None:
            conditions.append("(lower(m.license) = ? OR (m.license IS NULL AND m.base IS NOT NULL))")
            values.append(filters.license.lower())
        if filters.max_params is not None:
            conditions.append("(m.params <= ? OR (m.params IS NULL AND m.base IS NOT NULL))")
            values.append(filters.max_params)
        if words := _words(filters.text or ""):
            tables, order = "words JOIN models AS m ON m.row = words.rowid", "bm25(words, 10, 4, 1), m.id"
            conditions.append("words MATCH ?")
            values.append(" ".join(f'"{word}"*' for word in words))
        return f"SELECT {columns} FROM {tables} WHERE {' AND '.join(conditions)} ORDER BY {order}", values

    def _ids_of(self, plugin: str) -> str:
        names = {each.id: (each.source.namespace, each.source.distribution) for each in self.sources.values()}
        return ", ".join(str(each) for each, owner in names.items() if plugin in owner) or "NULL"

    def _row(self, source: int, spec: str) -> Row:
        return Row(self.sources[source].source, json.loads(spec))

    # ------------------------------------------------------------ aliases and diagnostics

    def target(self, alias: str) -> str | None:
        """What an alias stands for; the nearest source counts."""
        sql = f"SELECT source, target FROM aliases WHERE alias = ? AND source IN ({self._ids})"
        found = dict(self._index.rows(sql, (alias,)))
        return next((found[each] for each in self.sources if each in found), None)

    def aliases(self, target: str | None = None) -> list[tuple[str, str]]:
        """Pairs of alias and target: all, or those of one target."""
        sql = f"SELECT alias, target FROM aliases WHERE source IN ({self._ids})"
        if target is None:
            return self._index.rows(f"{sql} ORDER BY alias")
        return self._index.rows(f"{sql} AND target = ? ORDER BY alias", (target,))

    def dangling_aliases(self) -> list[tuple[Source, str, str]]:
        """Aliases of what is neither a model nor an alias: the file that says so, the alias and its target."""
        sql = (
            f"SELECT a.source, a.alias, a.target FROM aliases AS a WHERE a.source IN ({self._ids}) "
            f"AND NOT EXISTS (SELECT 1 FROM models AS m WHERE m.id = a.target AND {self._in_use}) "
            f"AND NOT EXISTS (SELECT 1 FROM aliases AS b WHERE b.alias = a.target AND b.source IN ({self._ids})) "
            "ORDER BY a.alias"
        )
        return [(self.sources[source].source, alias, target) for source, alias, target in self._index.rows(sql)]

    def diagnostics(self, *, model: str | None = None, source: int | None = None) -> list[Diagnostic]:
        """What is wrong: everywhere, with one model, or in one file."""
        sql = f"SELECT fields FROM diagnostics WHERE source IN ({self._ids}) AND coalesce(?, model) IS model"
        rows = self._index.rows(f"{sql} AND coalesce(?, source) = source ORDER BY rowid", (model, source))
        return [Diagnostic(**json.loads(fields)) for (fields,) in rows]

    # ------------------------------------------------------------ what hides models

    def disabled(self) -> list[str]:
        """Ids, or ``namespace/*``, that the user's files take out."""
        return [entry for each in self.sources.values() for entry in each.head["disabled"]]

    def idle_disabled(self) -> list[tuple[Source, str]]:
        """Entries that take nothing out, and the file that has them."""
        return [
            (each.source, entry)
            for each in self.sources.values()
            for entry in each.head["disabled"]
            if not self._index.rows(
                f"SELECT 1 FROM models AS m WHERE m.source IN ({self._ids}) AND {_covered(entry)} LIMIT 1"
            )
        ]

    @staticmethod
    def _hidden(sources: Sequence[IndexedSource]) -> str:
        """Within a namespace the nearer file counts: a hand-written one before its catalogue, ./ before the user's."""
        conditions = []
        for place, source in enumerate(sources):
            nearer = [str(each.id) for each in sources[:place] if each.source.namespace == source.source.namespace]
            if nearer:
                hidden = f"SELECT id FROM models WHERE source IN ({', '.join(nearer)})"
                conditions.append(f" AND NOT (m.source = {source.id} AND m.id IN ({hidden}))")
        return "".join(conditions)

    @staticmethod
    def _disabled(sources: Sequence[IndexedSource]) -> str:
        entries = [entry for each in sources for entry in each.head["disabled"]]
        return "".join(f" AND NOT {_covered(entry)}" for entry in entries)


def covers(entry: str, model: str) -> bool:
    """Whether an entry of ``disable``, an id or ``namespace/*``, means this model."""
    return model.startswith(entry[:-1]) if entry.endswith("/*") else model == entry


def _covered(entry: str) -> str:
    """The same as a condition. The schema lets only ids through, which hold no quotes."""
    return f"substr(m.id, 1, {len(entry) - 1}) = '{entry[:-1]}'" if entry.endswith("/*") else f"m.id = '{entry}'"


def sources_of(surroundings: Surroundings) -> list[Source]:
    """The files that declare models, the user's own first: where two say the same thing, the nearer one counts."""
    core, *plugins = surroundings.installed
    files = [Source(path, "user", USER_NAMESPACE) for path in surroundings.user_files]
    for each in [core, *plugins]:
        if each.path is not None and each.state == "ok":
            files.append(Source(each.path, "core" if each is core else "plugin", each.namespace, each.distribution))
    return files


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)
