"""Models chosen by what they are or by words, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from layerzoo.registry.in_use import any_of, listed
from layerzoo.registry.words import match, matches

if TYPE_CHECKING:
    from layerzoo.registry.database import Database
    from layerzoo.registry.entry import Entry
    from layerzoo.registry.filters import Filters
    from layerzoo.registry.in_use import InUse, Row
    from layerzoo.registry.words import Match

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


class Selection:
    """The models that fit some filters.

    views: those that hold the models that are built on another, see :class:`Heirs`.
    sort and limit: as for :meth:`Registry.models`.
    """

    def __init__(self, database: Database, in_use: InUse, filters: Filters, views: Sequence[int]) -> None:
        self._database = database
        self._in_use = in_use
        self._text = filters.get("text") or ""
        self._conditions, self._values = _conditions(in_use, filters, views)

    def ids(self, sort: str | None = None, limit: int | None = None) -> list[str]:
        """Their ids."""
        return self._column("f.id", sort, limit)

    def rows(self, sort: str | None = None, limit: int | None = None, *, layers: bool = True) -> list[Row]:
        """Their declarations, with their layers, which are most of them, or without."""
        numbers = self._column("f.model", sort, limit)
        spec = "m.spec" if layers else "json_remove(m.spec, '$.layers')"
        found = self._by_number(f"SELECT m.row, m.source, {spec} FROM models AS m WHERE m.row", numbers)
        return [self._in_use.row(*each) for each in found]

    def entries(self, sort: str | None = None, limit: int | None = None) -> list[Entry]:
        """All that a list shows of them."""
        return self._entries(self._column("f.row", sort, limit))

    def entry(self, model: str) -> Entry | None:
        """The one of this id."""
        tables, condition, values = self._question(match(self._text))
        found = self._database.rows(f"SELECT f.row FROM {tables} WHERE {condition} AND f.id = ?", (*values, model))
        return next(iter(self._entries([number for (number,) in found])), None)

    def count(self) -> int:
        """How many there are."""
        tables, condition, values = self._question(match(self._text))
        ((number,),) = self._database.rows(f"SELECT count(*) FROM {tables} WHERE {condition}", values)
        return int(number)

    def count_unsized(self) -> int:
        """How many of them declare no number of parameters."""
        tables, condition, values = self._question(match(self._text))
        ((number,),) = self._database.rows(
            f"SELECT count(*) FROM {tables} WHERE {condition} AND f.params IS NULL", values
        )
        return int(number)

    def values(self, facet: Literal["builder", "license"]) -> list[str]:
        """All that some of them has."""
        tables, condition, values = self._question(match(self._text))
        sql = f"SELECT DISTINCT f.{facet} FROM {tables} WHERE {condition} AND f.{facet} IS NOT NULL"
        return sorted(found for (found,) in self._database.rows(sql, values))

    def _column(self, column: str, sort: str | None, limit: int | None) -> list[Any]:
        if sort is None and (tiers := matches(self._text)):
            return self._ranked(column, tiers, limit)
        return list(self._queried(column, match(self._text), _order(sort or "id"), limit).values())

    def _ranked(self, column: str, tiers: Sequence[Match], limit: int | None) -> list[Any]:
        """The tiers of a search one after the other, until there are enough; what fits several stands in the first."""
        wanted = self.count() if limit is None else limit
        found: dict[int, Any] = {}
        for tier in tiers:
            if len(found) >= wanted:
                break
            enough = None if limit is None else limit + len(found)
            # Of equals by their id the shorter one counts. Those by their summary may be most of the zoo, and stay in
            # the order of their files, which needs no sorting.
            order = "length(f.id), f.id" if tier.names else "words.rowid"
            for row, value in self._queried(column, tier, order, enough).items():
                found.setdefault(row, value)
        return list(found.values())[:wanted]

    def _queried(self, column: str, words: Match | None, order: str, limit: int | None) -> dict[int, Any]:
        """A column by the number of its row."""
        tables, condition, values = self._question(words)
        rest = -1 if limit is None else limit
        sql = f"SELECT f.row, {column} FROM {tables} WHERE {condition} ORDER BY {order} LIMIT {rest}"
        return dict(self._database.rows(sql, values))

    def _question(self, words: Match | None) -> tuple[str, str, list[Any]]:
        """Tables, condition and values of a query."""
        if words is None:
            return "facets AS f", self._conditions, self._values
        asked = [(table, wanted) for table, wanted in (("names", words.names), ("words", words.words)) if wanted]
        first, *others = (table for table, _ in asked)
        tables = f"{first} CROSS JOIN facets AS f ON f.row = {first}.rowid"
        # Joined, a second index would be searched again for every row that the first one finds.
        matching = [f"{first} MATCH ?"]
        matching += [f"f.row IN (SELECT rowid FROM {table} WHERE {table} MATCH ?)" for table in others]
        return tables, " AND ".join([*matching, self._conditions]), [*(wanted for _, wanted in asked), *self._values]

    def _entries(self, numbers: Sequence[int]) -> list[Entry]:
        sql = (
            "SELECT f.row, m.source, f.id, f.modality, f.params, f.width, f.height_px, f.breadth_px, f.rate_hz, "
            "f.builder, f.license, m.summary FROM facets AS f JOIN models AS m ON m.row = f.model WHERE f.row"
        )
        return [self._entry(*each) for each in self._by_number(sql, numbers)]

    def _by_number(self, sql: str, numbers: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        """The rows of these numbers, in this order, without the number."""
        for begin in range(0, len(numbers), _AT_ONCE):
            some = numbers[begin : begin + _AT_ONCE]
            found = {row[0]: row[1:] for row in self._database.rows(f"{sql} IN ({listed(some)})")}
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
        origin = self._in_use.sources[source].source
        package = self._in_use.package(id.partition("/")[0]) if origin.role == "published" else None
        from layerzoo.registry.entry import Entry

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


def _conditions(in_use: InUse, filters: Filters, views: Sequence[int]) -> tuple[str, list[Any]]:
    """The filters, but for the words, as a condition and its values."""
    conditions = [in_use.facets(filters.get("installed", True), views)]
    values: list[Any] = []
    for name, sql in _CONDITIONS.items():
        if (wanted := filters.get(name)) is not None:
            conditions.append(sql)
            values.append(wanted)
    if (size_px := filters.get("size_px")) is not None:
        conditions.append("f.height_px = ? AND f.breadth_px = ?")
        values += [size_px, size_px] if isinstance(size_px, int) else size_px
    if (plugin := filters.get("plugin")) is not None:
        conditions.append(any_of(f"{namespace}/*" for namespace in in_use.namespaces_of(plugin)))
    return " AND ".join(conditions), values


def _order(sort: str) -> str:
    key, direction = sort.removeprefix("-"), "DESC" if sort.startswith("-") else "ASC"
    column = "f.height_px * f.breadth_px" if key == "size_px" else f"f.{key}"
    return f"f.id {direction}" if key == "id" else f"{column} IS NULL, {column} {direction}, f.id"
