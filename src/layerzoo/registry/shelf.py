"""The part of the index that counts here and now: the models of the sources that are in use."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from layerzoo.registry.diagnostics import Diagnostic
from layerzoo.registry.discovery import Surroundings
from layerzoo.registry.entry import Entry
from layerzoo.registry.filters import Filters
from layerzoo.registry.index import Index, IndexedSource, ShelvedModel, compiler, from_json
from layerzoo.registry.installed import USER_NAMESPACE
from layerzoo.registry.source import Source
from layerzoo.registry.words import Match, match, matches, similar

_LAST_CHARACTER = "\U0010ffff"
_AT_ONCE = 500
"""How many rows are named in one query."""
_CONDITIONS: dict[Any, str] = {
    "modality": "f.modality = ?",
    "builder": "f.builder = ?",
    "license": "f.license = ?",
    "min_params": "f.params >= ?",
    "max_params": "f.params <= ?",
    "rate_hz": "f.rate_hz = ?",
    "width": "f.width = ?",
    "max_width": "f.width <= ?",
}
"""What a filter of one value asks of the facets of a model."""


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
        self._surroundings = surroundings
        here = [each for each in sources if each.source.role != "published"]
        self._ids = _listed(each.id for each in here)
        self._published = _listed(each.id for each in sources if each.source.role == "published")
        self._in_use = f"(m.source IN ({self._ids}){self._hidden(here, 'm.source')}{self._disabled(here)})"

    # ------------------------------------------------------------ models

    def find(self, model: str) -> Row | None:
        """The model of an id."""
        sql = f"SELECT m.source, m.spec FROM models AS m WHERE m.id = ? AND {self._in_use}"
        return next((self._row(*found) for found in self._index.rows(sql, (model,))), None)

    def based(self, sources: Iterable[IndexedSource]) -> list[tuple[int, Row]]:
        """The models of some sources that are built on another, and their numbers."""
        sql = (
            f"SELECT m.row, m.source, m.spec FROM models AS m WHERE m.base IS NOT NULL AND {self._in_use} "
            f"AND m.source IN ({_listed(each.id for each in sources)})"
        )
        return [(number, self._row(*found)) for number, *found in self._index.rows(sql)]

    def has_based(self, sources: Iterable[IndexedSource]) -> bool:
        """Whether some sources have models that are built on another."""
        ids = _listed(each.id for each in sources)
        sql = f"SELECT 1 FROM models INDEXED BY models_with_base WHERE base IS NOT NULL AND source IN ({ids}) LIMIT 1"
        return bool(self._index.rows(sql))

    def unusable(self, views: Sequence[int]) -> list[Row]:
        """The models that are built on what cannot be used: none of the views has them."""
        taken = f"SELECT 1 FROM facets AS f WHERE f.id = m.id AND f.scope IN ({_listed(-view for view in views)})"
        condition = f"m.base IS NOT NULL AND {self._in_use} AND NOT EXISTS ({taken})"
        sql = f"SELECT m.source, m.spec FROM models AS m WHERE {condition}"
        return [self._row(*found) for found in self._index.rows(sql)]

    def count(self, source: int) -> int:
        ((number,),) = self._index.rows(
            f"SELECT count(*) FROM models AS m WHERE m.source = ? AND {self._in_use}", (source,)
        )
        return int(number)

    def ids(self, limit: int) -> list[str]:
        """Some ids, and all of them where there are not more than the limit."""
        sql = f"SELECT m.id FROM models AS m WHERE {self._in_use} LIMIT {limit}"
        return [found for (found,) in self._index.rows(sql)]

    def names(self, prefix: str, limit: int) -> list[str]:
        """The first ids and aliases that start so, in order, and the very last: see :meth:`Registry.names`."""
        # A range of the index on ids, which SQLite would otherwise pass over for that on sources, and sort them all.
        models = f"SELECT m.id FROM models AS m INDEXED BY models_by_id WHERE m.id >= ? AND m.id < ? AND {self._in_use}"
        aliases = f"SELECT alias FROM aliases WHERE alias >= ? AND alias < ? AND source IN ({self._ids})"
        found: set[str] = set()
        for sql, column in ((models, "m.id"), (aliases, "alias")):
            for order in (f"{column} LIMIT {limit}", f"{column} DESC LIMIT 1"):
                rows = self._index.rows(f"{sql} ORDER BY {order}", (prefix, f"{prefix}{_LAST_CHARACTER}"))
                found.update(name for (name,) in rows)
        names = sorted(found)
        return [*names[: limit - 1], *names[limit - 1 :][-1:]]

    def similar_ids(self, asked: str, limit: int) -> list[str]:
        """Ids that share the beginning of a word with what was asked, the most similar first."""
        sql = (
            "SELECT f.id FROM names JOIN facets AS f ON f.row = names.rowid "
            f"WHERE names MATCH ? AND {self._listed(None)} ORDER BY bm25(names) LIMIT {limit}"
        )
        match = similar(asked)
        return [found for (found,) in self._index.rows(sql, (match,))] if match else []

    # ------------------------------------------------------------ what sources say together

    def circles(self) -> list[tuple[str, list[IndexedSource]]]:
        """What is installed, and the user's own files, which may build on it; keys change with what is said there."""
        here = [each for each in self.sources.values() if each.source.role != "published"]
        installed = [each for each in here if each.source.role != "user"]
        own = [each for each in here if each.source.role == "user"]
        return [(self._key(installed), installed), (self._key(here), own)]

    def view(self, key: str) -> int | None:
        """The view that was kept under this key."""
        return self._index.view(key)

    def keep_view(self, key: str, models: Iterable[ShelvedModel]) -> int:
        """See :meth:`Index.keep_view`."""
        return self._index.keep_view(key, models)

    def loose_ends(self, find: Callable[[], Iterable[Diagnostic]]) -> list[Diagnostic]:
        """The names that lead to nothing, as they were found for the same files; else as they are found now."""
        key = f"{self._key(list(self.sources.values()))} {self._surroundings!r}"
        if (kept := self._index.loose_ends(key)) is not None:
            return [Diagnostic.from_dict(each) for each in kept]
        found = list(find())
        with contextlib.suppress(sqlite3.OperationalError):  # a note that cannot be taken is no reason to begin again
            self._index.keep_loose_ends(key, [asdict(each) for each in found])
        return found

    def _key(self, sources: Sequence[IndexedSource]) -> str:
        return json.dumps([compiler(), [each.edition for each in sources], self.disabled()])

    # ------------------------------------------------------------ lists and searches

    def select_ids(self, filters: Filters, views: Sequence[int], sort: str | None, limit: int | None) -> list[str]:
        """The ids of the models that fit; the best matches first where words are asked for and no order is."""
        return self._selected("f.id", filters, views, sort, limit)

    def select(self, filters: Filters, views: Sequence[int], sort: str | None, limit: int | None) -> list[Row]:
        """As :meth:`select_ids`, but the declarations."""
        numbers = self._selected("f.model", filters, views, sort, limit)
        found = self._by_number("SELECT m.row, m.source, m.spec FROM models AS m WHERE m.row", numbers)
        return [self._row(*each) for each in found]

    def entries(self, filters: Filters, views: Sequence[int], sort: str | None, limit: int | None) -> list[Entry]:
        """As :meth:`select_ids`, but all that a list shows."""
        return self._entries(self._selected("f.row", filters, views, sort, limit))

    def _entries(self, numbers: Sequence[int]) -> list[Entry]:
        sql = (
            "SELECT f.row, m.source, f.id, f.modality, f.params, f.width, f.height_px, f.breadth_px, f.rate_hz, "
            "f.builder, f.license, m.summary FROM facets AS f JOIN models AS m ON m.row = f.model WHERE f.row"
        )
        return [self._entry(*each) for each in self._by_number(sql, numbers)]

    def count_selected(self, filters: Filters, views: Sequence[int]) -> int:
        """How many models fit."""
        tables, condition, values = self._condition(filters, views, match(filters.get("text") or ""))
        ((number,),) = self._index.rows(f"SELECT count(*) FROM {tables} WHERE {condition}", values)
        return int(number)

    def values(self, facet: Literal["builder", "license"], views: Sequence[int]) -> list[str]:
        """All that some model has, installed or not."""
        sql = f"SELECT DISTINCT f.{facet} FROM facets AS f WHERE {self._listed(None, views)} AND f.{facet} IS NOT NULL"
        return sorted(found for (found,) in self._index.rows(sql))

    def published_entry(self, model: str) -> Entry | None:
        """A model that could be installed."""
        sql = f"SELECT f.row FROM facets AS f WHERE f.id = ? AND {self._listed(False)}"
        numbers = [number for (number,) in self._index.rows(sql, (model,))]
        return next(iter(self._entries(numbers)), None)

    def published_ids(self) -> list[str]:
        """The models that could be installed."""
        return [found for (found,) in self._index.rows(f"SELECT f.id FROM facets AS f WHERE {self._listed(False)}")]

    def _selected(
        self, column: str, filters: Filters, views: Sequence[int], sort: str | None, limit: int | None
    ) -> list[Any]:
        """One column of what fits, in order."""
        if sort is None and (tiers := matches(filters.get("text") or "")):
            return self._ranked(column, filters, views, tiers, limit)
        words = match(filters.get("text") or "")
        return list(self._queried(column, filters, views, words, _order(sort or "id"), limit).values())

    def _ranked(
        self, column: str, filters: Filters, views: Sequence[int], tiers: Sequence[Match], limit: int | None
    ) -> list[Any]:
        """The tiers of a search one after the other, until there are enough; what fits several stands in the first."""
        wanted = self.count_selected(filters, views) if limit is None else limit
        found: dict[int, Any] = {}
        for tier in tiers:
            if len(found) >= wanted:
                break
            enough = None if limit is None else limit + len(found)
            # Of equals by their id the shorter one counts. Those by their summary may be most of the zoo, and stay in the
            # order of their files, which needs no sorting.
            order = "length(f.id), f.id" if tier.names else "words.rowid"
            for row, value in self._queried(column, filters, views, tier, order, enough).items():
                found.setdefault(row, value)
        return list(found.values())[:wanted]

    def _queried(
        self, column: str, filters: Filters, views: Sequence[int], words: Match | None, order: str, limit: int | None
    ) -> dict[int, Any]:
        """A column by the number of its row."""
        tables, condition, values = self._condition(filters, views, words)
        rest = -1 if limit is None else limit
        sql = f"SELECT f.row, {column} FROM {tables} WHERE {condition} ORDER BY {order} LIMIT {rest}"
        return dict(self._index.rows(sql, values))

    def _condition(self, filters: Filters, views: Sequence[int], words: Match | None) -> tuple[str, str, list[Any]]:
        """Tables, condition and values of a query."""
        conditions = [self._listed(filters.get("installed", True), views)]
        values: list[Any] = []
        for name, sql in _CONDITIONS.items():
            if (wanted := filters.get(name)) is not None:
                conditions.append(sql)
                values.append(wanted)
        if (size_px := filters.get("size_px")) is not None:
            conditions.append("f.height_px = ? AND f.breadth_px = ?")
            values += [size_px, size_px] if isinstance(size_px, int) else size_px
        if (plugin := filters.get("plugin")) is not None:
            conditions.append(_any_of(f"{namespace}/*" for namespace in self._namespaces_of(plugin)))
        if words is None:
            return "facets AS f", " AND ".join(conditions), values
        asked = [(table, wanted) for table, wanted in (("names", words.names), ("words", words.words)) if wanted]
        first, *others = (table for table, _ in asked)
        tables = f"{first} CROSS JOIN facets AS f ON f.row = {first}.rowid"
        tables += "".join(f" CROSS JOIN {table} ON {table}.rowid = f.row" for table in others)
        matching = [f"{table} MATCH ?" for table, _ in asked]
        return tables, " AND ".join([*matching, *conditions]), [*(wanted for _, wanted in asked), *values]

    def _listed(self, installed: bool | None, views: Sequence[int] = ()) -> str:
        """Which facets count here and now: those of installed models, of published ones, or of both."""
        here = [each for each in self.sources.values() if each.source.role != "published"]
        scopes = [] if installed is False else [*(each.id for each in here), *(-view for view in views)]
        published = "" if installed is True else self._published
        condition = f"f.scope IN ({', '.join(filter(None, [*map(str, scopes), published])) or 'NULL'})"
        condition += self._hidden(here, "f.scope", "f.id") + self._disabled(here, "f.id")
        if published:
            owned = _any_of(f"{each.namespace}/*" for each in self._surroundings.installed)
            condition += f" AND NOT (f.scope IN ({published}) AND {owned})"
        return condition

    def _namespaces_of(self, plugin: str) -> list[str]:
        """The namespaces that a name of a plugin or of a package means."""
        known = {each.namespace for each in self._surroundings.installed if each.is_called(plugin)}
        packages = (each.head["published"] for each in self.sources.values())
        known |= {name for facts in packages for name, each in facts.items() if plugin in (name, each["package"])}
        known |= {USER_NAMESPACE} & {plugin}
        return sorted(known)

    def _package(self, namespace: str) -> str | None:
        """What brings the models of a namespace, where that is known."""
        known = (each.head["published"].get(namespace) for each in self.sources.values())
        return next((facts["package"] for facts in known if facts), None)

    def _by_number(self, sql: str, numbers: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        """The rows of these numbers, in this order, without the number."""
        for begin in range(0, len(numbers), _AT_ONCE):
            some = numbers[begin : begin + _AT_ONCE]
            found = {row[0]: row[1:] for row in self._index.rows(f"{sql} IN ({_listed(some)})")}
            yield from (found[number] for number in some if number in found)

    def _entry(
        self,
        source: int,
        id: str,
        modality: str,
        params: int | None,
        width: int | None,
        height_px: int | None,
        breadth_px: int | None,
        rate_hz: int | None,
        builder: str | None,
        license: str | None,
        summary: str,
    ) -> Entry:
        origin = self.sources[source].source
        package = self._package(id.partition("/")[0]) if origin.role == "published" else None
        return Entry(
            id=id,
            modality=modality,
            params=params,
            width=width,
            size_px=None if height_px is None or breadth_px is None else (height_px, breadth_px),
            rate_hz=rate_hz,
            builder=builder,
            license=license,
            summary=summary,
            plugin=package or origin.distribution,
            installed=origin.role != "published",
            install=f"pip install {package}" if package else None,
        )

    def _row(self, source: int, spec: str) -> Row:
        return Row(self.sources[source].source, from_json(spec))

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

    def aliases_of_aliases(self) -> list[tuple[Source, str, str]]:
        """Aliases that stand for another alias: the file that says so, the alias and its target."""
        sql = (
            f"SELECT a.source, a.alias, a.target FROM aliases AS a WHERE a.source IN ({self._ids}) "
            f"AND EXISTS (SELECT 1 FROM aliases AS b WHERE b.alias = a.target AND b.source IN ({self._ids})) "
            "ORDER BY a.alias"
        )
        return [(self.sources[source].source, alias, target) for source, alias, target in self._index.rows(sql)]

    def diagnostics(self, *, model: str | None = None, source: int | None = None) -> list[Diagnostic]:
        """What is wrong: everywhere, with one model, or in one file."""
        sql = f"SELECT fields FROM diagnostics WHERE source IN ({self._ids}) AND coalesce(?, model) IS model"
        rows = self._index.rows(f"{sql} AND coalesce(?, source) = source ORDER BY rowid", (model, source))
        return [Diagnostic.from_dict(from_json(fields)) for (fields,) in rows]

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
    def _hidden(sources: Sequence[IndexedSource], source_: str, id: str = "m.id") -> str:
        """Within a namespace the nearer file counts: a hand-written one before its catalogue, ./ before the user's."""
        conditions = []
        for place, source in enumerate(sources):
            nearer = [str(each.id) for each in sources[:place] if each.source.namespace == source.source.namespace]
            if nearer:
                hidden = f"SELECT id FROM models WHERE source IN ({', '.join(nearer)})"
                conditions.append(f" AND NOT ({source_} = {source.id} AND {id} IN ({hidden}))")
        return "".join(conditions)

    @staticmethod
    def _disabled(sources: Sequence[IndexedSource], id: str = "m.id") -> str:
        entries = [entry for each in sources for entry in each.head["disabled"]]
        return "".join(f" AND NOT {_covered(entry, id)}" for entry in entries)


def covers(entry: str, model: str) -> bool:
    """Whether an entry of ``disable``, an id or ``namespace/*``, means this model."""
    return model.startswith(entry[:-1]) if entry.endswith("/*") else model == entry


def _covered(entry: str, id: str = "m.id") -> str:
    """The same as a condition, a range of ids. The schema lets only ids through, which hold no quotes."""
    if not entry.endswith("/*"):
        return f"{id} = '{entry}'"
    # What comes after a slash is the digit 0.
    return f"({id} >= '{entry[:-1]}' AND {id} < '{entry[:-2]}0')"


def _any_of(entries: Iterable[str]) -> str:
    # With a plus the index of ids is left alone: to look up most rows one by one is slower than to go through them all.
    return f"({' OR '.join(_covered(entry, '+f.id') for entry in entries) or 'FALSE'})"


def _order(sort: str) -> str:
    key, direction = sort.removeprefix("-"), "DESC" if sort.startswith("-") else "ASC"
    column = "f.height_px * f.breadth_px" if key == "size_px" else f"f.{key}"
    return f"f.id {direction}" if key == "id" else f"{column} IS NULL, {column} {direction}, f.id"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers)) or "NULL"


def sources_of(surroundings: Surroundings) -> list[Source]:
    """The files that declare models, the user's own first: where two say the same thing, the nearer one counts."""
    core, *plugins = surroundings.installed
    files = [Source(path, "user", USER_NAMESPACE) for path in surroundings.user_files]
    for each in [core, *plugins]:
        if each.path is not None and each.state == "ok":
            files.append(Source(each.path, "core" if each is core else "plugin", each.namespace, each.distribution))
    files.append(Source(surroundings.published, "published", ""))
    return files
