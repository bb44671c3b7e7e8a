"""Search the index: models that match filters or words, in order."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from layerzoo.registry.index.query import (
    SORTS,
    MetricCondition,
    any_match,
    called,
    glob_of,
    match,
    matches,
    metric_name,
    no_such,
    pieces,
    searched_words,
)
from layerzoo.registry.index.visibility import any_of, listed
from layerzoo.registry.installed.plugin import USER_NAMESPACE

if TYPE_CHECKING:
    from layerzoo.registry.index.database import Database
    from layerzoo.registry.index.query import Filters, Match
    from layerzoo.registry.index.visibility import Declaration, Visibility


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a list. Fields have the names of the filters, of ``zoo list --columns`` and of its JSON."""

    id: str
    modality: str
    params: int | None
    """Number of parameters of the whole network."""
    width: int | None
    """Number of features of a sample at the model's default layer and pooling."""
    size_px: tuple[int, int] | None
    """Height and width of the images or frames that the network receives, in pixels."""
    rate_hz: int | None
    """Sample rate of the audio that the network receives, in Hz."""
    builder: str | None
    license: str | None
    tasks: tuple[str, ...]
    """The tasks that the model was trained for; empty if they are unknown."""
    trained_on: tuple[str, ...]
    """The data sets that the weights were trained on, in order; empty if they are unknown."""
    languages: tuple[str, ...]
    """The codes of the languages; empty if they are unknown."""
    summary: str
    plugin: str | None
    """The distribution that declares it; None for a user's model."""
    installed: bool
    install: str | None
    """The command that installs it; None if it is installed."""
    metrics: Mapping[str, Mapping[str, Any]] | None
    """The results of the weights, by dataset and metric."""

    def to_dict(self) -> dict[str, Any]:
        """Return every field by name; None if it is unknown."""
        values = ((name, getattr(self, name)) for name in FIELDS)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values}


FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Entry))


AnswerT = TypeVar("AnswerT")
_AT_ONCE = 500
"""How many rows are requested in one query."""
_MOST_WORDS = 4
"""The maximal number of words of which every combination, and every pair as one word, is tried."""
_MOST_COUNTED = 2_000
"""Words with more matches than this count as equally common: counting all matches of a common word takes 10 ms."""
_METRICS = (
    "SELECT DISTINCT dataset.key, metric.key FROM models, json_each(models.spec, '$.metrics') AS dataset, "
    "json_each(dataset.value) AS metric WHERE typeof(metric.value) IN ('integer', 'real')"
)
"""The datasets and metrics of all models whose values are numbers."""
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
"""The SQL condition of each filter with one value."""
TAG_FILTERS: dict[Any, str] = {"task": "tasks", "trained_on": "trained_on", "language": "languages"}
"""The column of each filter by one of several values, which are :data:`layerzoo.spec.TAGS`. A list does not import that
module."""
UNDECLARED: dict[str, str] = {
    "min_params": "f.params IS NULL",
    **{name: f"f.{column} IS NULL" for name, column in TAG_FILTERS.items()},
}
"""The SQL condition that a model does not declare the value of a filter."""


class Selection:
    """The models that match all filters.

    Args:
        database: the database of the index.
        visibility: the visible files.
        filters: see :func:`layerzoo.registry.index.query.parse_filters`.
        views: the views of the models that have a base: see :class:`layerzoo.registry.index.models.Inheritance`.

    ``sort`` and ``limit`` of its methods are those of :meth:`layerzoo.registry.Registry.models`.
    """

    def __init__(self, database: Database, visibility: Visibility, filters: Filters, views: Sequence[int]) -> None:
        self._database = database
        heads = (source.head for source in visibility.sources.values())
        self._defaults = sorted({model for head in heads for model in head["defaults"].values()})
        self._visibility = visibility
        self._text = filters.get("text") or ""
        self._texts: list[str] | None = None
        self._conditions, self._values = _conditions(visibility, filters, views)
        for text in filters.get("metric") or ():
            condition = MetricCondition.parse(text)
            self._conditions += (
                f" AND {self._metric(condition.name, 'metric', requested=condition.name)} {condition.relation} ?"
            )
            self._values.append(condition.value)

    def ids(self, sort: str | None = None, limit: int | None = None) -> list[str]:
        """Return the ids."""
        return self._column("f.id", sort, limit)

    def rows(self, sort: str | None = None, limit: int | None = None, *, layers: bool = True) -> list[Declaration]:
        """Return the declarations, with or without their layers, which are the largest part."""
        numbers = self._column("f.model", sort, limit)
        spec = "m.spec" if layers else "json_remove(m.spec, '$.layers')"
        rows = self._by_number(f"SELECT m.row, m.source, {spec} FROM models AS m WHERE m.row", numbers)
        return [self._visibility.row(*columns) for columns in rows]

    def entries(self, sort: str | None = None, limit: int | None = None) -> list[Entry]:
        """Return the fields that a list shows."""
        return self._entries(self._column("f.row", sort, limit))

    def entry(self, model: str) -> Entry | None:
        """Return the entry of one model; None if it does not match."""
        tables, condition, values = self._question(any_match(self.matched_texts()))
        rows = self._database.rows(f"SELECT f.row FROM {tables} WHERE {condition} AND f.id = ?", (*values, model))
        return next(iter(self._entries([number for (number,) in rows])), None)

    def count(self) -> int:
        """Count the models."""
        return self._with_parts(self._count)

    def _count(self, texts: Sequence[str]) -> int:
        tables, condition, values = self._question(any_match(texts))
        ((number,),) = self._database.rows(f"SELECT count(*) FROM {tables} WHERE {condition}", values)
        return int(number)

    def count_undeclared(self, filter: str) -> int:
        """Count the models that do not declare the value of a filter, one of ``UNDECLARED``."""
        tables, condition, values = self._question(any_match(self.matched_texts()))
        sql = f"SELECT count(*) FROM {tables} WHERE {condition} AND {UNDECLARED[filter]}"
        ((number,),) = self._database.rows(sql, values)
        return int(number)

    def values(self, facet: Literal["builder", "license", "tasks", "trained_on", "languages"]) -> list[str]:
        """Return the distinct values of a facet, sorted."""
        tables, condition, values = self._question(any_match(self.matched_texts()))
        sql = f"SELECT DISTINCT f.{facet} FROM {tables} WHERE {condition} AND f.{facet} IS NOT NULL"
        texts = {text for (text,) in self._database.rows(sql, values)}
        return sorted({value for text in texts for value in text.split()} if facet in TAG_FILTERS.values() else texts)

    def matched_texts(self) -> list[str]:
        """Return the text of the search, or the parts of it that match most words where no model matches all words.

        Of two words, two joined ones are tried first: ``mini lm`` is ``minilm``. Then words are left out, as few as
        possible. Parts with rare words come first.
        """
        if self._texts is None:
            is_matched = len(searched_words(self._text)) < 2 or self._exists(match(self._text))
            self._texts = [self._text] if is_matched else self._partly_matched()
        return self._texts

    def _with_parts(self, query: Callable[[Sequence[str]], AnswerT]) -> AnswerT:
        """Return the answer for the whole text, or for parts of it if that is empty.

        The whole text is not tested beforehand: a query of prefixes reads all rows of each of them.
        """
        answer = query(self._texts or [self._text])
        if answer or self._texts is not None or len(searched_words(self._text)) < 2:
            return answer
        self._texts = self._partly_matched()
        return answer if self._texts == [self._text] else query(self._texts)

    def _partly_matched(self) -> list[str]:
        words = searched_words(self._text)
        return self._joined(words) or self._parts(words) or [self._text]

    def _joined(self, words: Sequence[str]) -> list[str]:
        """Return the text with two adjacent words as one, where models match that."""
        pairs = range(len(words) - 1) if len(words) <= _MOST_WORDS else ()
        texts = (" ".join([*words[:i], "".join(words[i : i + 2]), *words[i + 2 :]]) for i in pairs)
        return [text for text in texts if self._exists(match(text))][:1]

    def _parts(self, words: Sequence[str]) -> list[str]:
        """Return the largest sets of words that models match, those with rare words first."""
        counts = {word: number for word in words if (number := self._count_of(word))}
        rare = sorted(counts, key=lambda word: counts[word])[:_MOST_WORDS]
        words = [word for word in words if word in rare]
        for size in range(len(words), 0, -1):
            parts = [part for part in combinations(words, size) if self._exists(match(" ".join(part)))]
            if parts:
                parts.sort(key=lambda part: math.prod(counts[word] for word in part))
                return [" ".join(part) for part in parts]
        return []

    def _count_of(self, word: str) -> int:
        """Return the number of models with a word, up to _MOST_COUNTED; 0 if no model of the index has it."""
        sql = f"SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT {_MOST_COUNTED})"
        whole_word = " AND ".join(f'"{piece}"' for piece in pieces(word))
        ((number,),) = self._database.rows(sql, (whole_word,))
        if not number and (query := match(word)):
            ((number,),) = self._database.rows(sql, (query.words,))
        return int(number)

    def _exists(self, words: Match | None) -> bool:
        tables, condition, values = self._question(words)
        return bool(self._database.rows(f"SELECT 1 FROM {tables} WHERE {condition} LIMIT 1", values))

    def _column(self, column: str, sort: str | None, limit: int | None) -> list[Any]:
        if sort is None and matches(self._text):
            return self._with_parts(lambda texts: self._ranked(column, texts, limit))
        order = self._order(sort or "id")
        return self._with_parts(lambda texts: list(self._queried(column, any_match(texts), order, limit).values()))

    def _order(self, sort: str) -> str:
        """Return the order of a sort key. Raises: UsageError for an unknown one."""
        key, direction = sort.removeprefix("-"), "DESC" if sort.startswith("-") else "ASC"
        if key == "id":
            return f"f.id {direction}"
        if key in SORTS:
            column = "f.height_px * f.breadth_px" if key == "size_px" else f"f.{key}"
        else:
            column = self._metric(key, "sort key", requested=sort)
        return f"{column} IS NULL, {column} {direction}, f.id"

    def _metric(self, name: str, noun: str, *, requested: str) -> str:
        """Return the SQL expression of a result. Raises: UsageError for a metric that no model has.

        Args:
            name: the name of the metric, see :func:`metric_name`.
            noun: for the message: the kind of the name.
            requested: for the message: the name as the caller gave it.
        """
        metrics = {
            metric_name(*names): names
            for names in self._database.rows(f"{_METRICS} AND source IN ({self._visibility.ids})")
        }
        if (words := metrics.get(metric_name(name))) is None:
            raise no_such(noun, requested, [*(SORTS if noun == "sort key" else ()), *sorted(metrics)])
        path = "$.metrics" + "".join(f".{json.dumps(word, ensure_ascii=False)}" for word in words)
        quoted = path.replace("'", "''")
        return f"(SELECT json_extract(spec, '{quoted}') FROM models WHERE row = f.model)"

    def _ranked(self, column: str, texts: Sequence[str], limit: int | None) -> list[Any]:
        """Return the matches of one tier after the other, up to the limit, each match once."""
        maximum = self._count(texts) if limit is None else limit
        tiers = (tier for text in texts for tier in matches(text))
        results: dict[int, Any] = {}
        for tier in tiers:
            if len(results) >= maximum:
                break
            enough = None if limit is None else limit + len(results)
            for row, value in self._queried(column, tier, self._order_of(tier), enough).items():
                results.setdefault(row, value)
        return list(results.values())[:maximum]

    def _order_of(self, tier: Match) -> str:
        """Return the SQL order of the matches of a tier.

        Of matching ids, those that begin with the text come first, then models with weights, then default tags
        and documented checkpoints, which have a short alias, then shorter ids. Matches of summaries may be most
        of the zoo; they keep the order of their files, which needs no sorting.
        """
        if tier.tier == "smallest":
            from layerzoo.registry.index.vocabulary import modalities_of, special_tasks

            modalities = ", ".join(f"'{name}'" for name in modalities_of(tier.text))
            by_modality = f"f.modality NOT IN ({modalities}), " if modalities else ""
            # A tower of another modality, such as the text tower of a detector, has a colon in its id.
            special = ", ".join(f"'{task}'" for task in special_tasks(tier.text))
            by_task = f"coalesce(f.tasks IN ({special}), 0), "
            return f"{by_modality}{by_task}instr(f.id, ':') > 0, f.params IS NULL, f.params, f.brevity, f.id"
        if tier.tier == "any":
            return "words.rowid"
        begins = f"instr(' ' || f.called, ' {called(tier.text)}') = 0"  # letters and digits, so the quotes are safe
        return f"{begins}, NOT f.has_weights, instr(f.called, ' ') = 0, f.brevity, f.id"

    def _restricted(self, tier: Match) -> str:
        """Return a further condition of a tier, in SQL."""
        if tier.tier == "exact":
            return f" AND instr(' ' || f.called || ' ', ' {called(tier.text)} ') > 0"
        if tier.tier == "default":
            ids = ", ".join(f"'{model}'" for model in self._defaults)  # the schema allows no quotes in an id
            return f" AND f.id IN ({ids})"
        return ""

    def _queried(self, column: str, words: Match | None, order: str, limit: int | None) -> dict[int, Any]:
        """Return a column by the number of its row."""
        tables, condition, values = self._question(words)
        maximum = -1 if limit is None else limit
        sql = f"SELECT f.row, {column} FROM {tables} WHERE {condition} ORDER BY {order} LIMIT {maximum}"
        return dict(self._database.rows(sql, values))

    def _question(self, words: Match | None) -> tuple[str, str, list[Any]]:
        """Return tables, condition and values of a query."""
        if words is None:
            return "facets AS f", self._conditions, self._values
        queries = [(table, query) for table, query in (("names", words.names), ("words", words.words)) if query]
        first, *other_tables = (table for table, _ in queries)
        tables = f"{first} CROSS JOIN facets AS f ON f.row = {first}.rowid"
        # In a join, the second index would be searched once for each match of the first one.
        matching = [f"{first} MATCH ?"]
        matching += [f"f.row IN (SELECT rowid FROM {table} WHERE {table} MATCH ?)" for table in other_tables]
        condition = " AND ".join([*matching, self._conditions]) + self._restricted(words)
        return tables, condition, [*(query for _, query in queries), *self._values]

    def _entries(self, numbers: Sequence[int]) -> list[Entry]:
        sql = (
            "SELECT f.row, m.source, f.id, f.modality, f.params, f.width, f.height_px, f.breadth_px, f.rate_hz, "
            "f.builder, f.license, f.tasks, f.trained_on, f.languages, m.summary, json_extract(m.spec, '$.metrics') "
            "FROM facets AS f JOIN models AS m ON m.row = f.model WHERE f.row"
        )
        return [self._entry(*columns) for columns in self._by_number(sql, numbers)]

    def _by_number(self, sql: str, numbers: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows with these numbers, in this order, without the number."""
        for begin in range(0, len(numbers), _AT_ONCE):
            some = numbers[begin : begin + _AT_ONCE]
            rows = {row[0]: row[1:] for row in self._database.rows(f"{sql} IN ({listed(some)})")}
            yield from (rows[number] for number in some if number in rows)

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
        tasks: str | None,
        trained_on: str | None,
        languages: str | None,
        summary: str,
        metrics: str | None,
    ) -> Entry:
        origin = self._visibility.sources[source].source
        package = self._visibility.package(id.partition("/")[0]) if origin.role == "published" else None
        return Entry(
            id=id,
            modality=modality,
            params=params,
            width=width,
            size_px=None if height_px is None or breadth_px is None else (height_px, breadth_px),
            rate_hz=rate_hz,
            builder=builder,
            license=license,
            tasks=_split(tasks),
            trained_on=_split(trained_on),
            languages=_split(languages),
            summary=summary,
            plugin=package or origin.distribution,
            installed=origin.role != "published",
            install=f"pip install {package}" if package else None,
            metrics=None if metrics is None else json.loads(metrics),
        )


def _split(values: str | None) -> tuple[str, ...]:
    return tuple((values or "").split())


def _conditions(visibility: Visibility, filters: Filters, views: Sequence[int]) -> tuple[str, list[Any]]:
    """Return the filters except ``text`` as a condition and its values."""
    conditions = [visibility.facets(filters.get("installed", True), views)]
    values: list[Any] = []
    for name, sql in _CONDITIONS.items():
        if (value := filters.get(name)) is not None:
            conditions.append(sql)
            values.append(value)
    if (size_px := filters.get("size_px")) is not None:
        conditions.append("f.height_px = ? AND f.breadth_px = ?")
        values += [size_px, size_px] if isinstance(size_px, int) else size_px
    if (plugin := filters.get("plugin")) is not None:
        conditions.append(any_of(f"{namespace}/*" for namespace in visibility.namespaces_of(plugin)))
    for name, column in TAG_FILTERS.items():
        if (value := filters.get(name)) is not None:
            conditions.append(f"instr(' ' || f.{column} || ' ', ?) > 0")
            values.append(f" {_tag(name, str(value))} ")
    if (pattern := filters.get("pattern")) is not None:
        condition, several = _name_condition(visibility, pattern)
        conditions.append(condition)
        values += several
    return " AND ".join(conditions), values


def _tag(filter: str, value: str) -> str:
    """Return the value of a filter by task, training data or language as it is stored."""
    if filter == "language":
        from layerzoo.registry.index.vocabulary import language_code

        return language_code(value)
    return "-".join(value.lower().replace("_", " ").split())


def _name_condition(visibility: Visibility, pattern: str) -> tuple[str, list[str]]:
    """Return the condition that an id or an alias, or the end of one after a slash, matches a pattern."""
    glob = glob_of(pattern)
    values = [glob, f"*/{glob}"]
    aliases = f"""
        WITH RECURSIVE meant (name) AS (
            SELECT target FROM aliases
            WHERE source IN ({visibility.ids}) AND (lower(alias) GLOB ? OR lower(alias) GLOB ?)
            UNION SELECT a.target FROM aliases AS a
            JOIN meant ON meant.name IN (a.alias, '{USER_NAMESPACE}/' || a.alias)
            WHERE a.source IN ({visibility.ids}))
        SELECT name FROM meant"""
    return f"(lower(f.id) GLOB ? OR lower(f.id) GLOB ? OR f.id IN ({aliases}))", [*values, *values]
