"""The part of the index that counts here and now: the models, aliases and mistakes of the files in use."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from layerzoo.registry.database import Database, from_json
from layerzoo.registry.in_use import InUse, Row, covered, covers, listed, sources_of
from layerzoo.registry.index import Index, compiler
from layerzoo.registry.installed import USER_NAMESPACE
from layerzoo.registry.notes import Notes
from layerzoo.registry.words import similar

if TYPE_CHECKING:
    from layerzoo.registry.diagnostics import Diagnostic
    from layerzoo.registry.discovery import Surroundings
    from layerzoo.registry.filters import Filters
    from layerzoo.registry.index import IndexedSource, ShelvedModel
    from layerzoo.registry.selection import Selection
    from layerzoo.registry.source import Source

MAX_ALIASES = 32
"""How many aliases may lead to one another."""
_LAST_CHARACTER = "\U0010ffff"


class Shelf:
    """Questions to the index, answered from the sources in use. Raises sqlite3.DatabaseError where it cannot answer."""

    def __init__(self, database: Database, surroundings: Surroundings) -> None:
        self._database = database
        self._index = Index(database)
        self._surroundings = surroundings
        self._in_use = InUse(self._index.update(sources_of(surroundings), surroundings.version), surroundings)
        self._in_use.disable(target for entry in self._in_use.disabled for target in self._targets(entry))

    @property
    def sources(self) -> list[IndexedSource]:
        """The files in use, the nearest first."""
        return list(self._in_use.sources.values())

    def selection(self, filters: Filters, views: Sequence[int] = ()) -> Selection:
        """The models that fit some filters."""
        from layerzoo.registry.selection import Selection

        return Selection(self._database, self._in_use, filters, views)

    # ------------------------------------------------------------ models

    def find(self, model: str) -> Row | None:
        """The model of an id."""
        sql = f"SELECT m.source, m.spec FROM models AS m WHERE m.id = ? AND {self._in_use.models}"
        return next((self._in_use.row(*found) for found in self._database.rows(sql, (model,))), None)

    def based(self, sources: Iterable[IndexedSource]) -> list[tuple[int, Row]]:
        """The models of some sources that are built on another, and their numbers."""
        sql = (
            f"SELECT m.row, m.source, m.spec FROM models AS m WHERE m.base IS NOT NULL AND {self._in_use.models} "
            f"AND m.source IN ({listed(each.id for each in sources)})"
        )
        return [(number, self._in_use.row(*found)) for number, *found in self._database.rows(sql)]

    def has_based(self, sources: Iterable[IndexedSource]) -> bool:
        """Whether some sources have models that are built on another."""
        ids = listed(each.id for each in sources)
        sql = f"SELECT 1 FROM models INDEXED BY models_with_base WHERE base IS NOT NULL AND source IN ({ids}) LIMIT 1"
        return bool(self._database.rows(sql))

    def unusable(self, views: Sequence[int]) -> list[Row]:
        """The models that are built on what cannot be used: none of the views has them."""
        taken = f"SELECT 1 FROM facets AS f WHERE f.id = m.id AND f.scope IN ({listed(-view for view in views)})"
        condition = f"m.base IS NOT NULL AND {self._in_use.models} AND NOT EXISTS ({taken})"
        sql = f"SELECT m.source, m.spec FROM models AS m WHERE {condition}"
        return [self._in_use.row(*found) for found in self._database.rows(sql)]

    def count(self, source: int) -> int:
        ((number,),) = self._database.rows(
            f"SELECT count(*) FROM models AS m WHERE m.source = ? AND {self._in_use.models}", (source,)
        )
        return int(number)

    def declared(self, source: int) -> list[str]:
        """The ids that a source declares, in its order, hidden and disabled ones included."""
        sql = "SELECT id FROM models WHERE source = ? ORDER BY row"
        return [found for (found,) in self._database.rows(sql, (source,))]

    def bases(self, source: int) -> list[tuple[str, str]]:
        """Model and base of each model of a source that is built on another."""
        return self._database.rows("SELECT id, base FROM models WHERE source = ? AND base IS NOT NULL", (source,))

    def covered(self, entry: str) -> int:
        """How many models of the files in use an entry of ``disable`` means."""
        sql = f"SELECT count(*) FROM models AS m WHERE m.source IN ({self._in_use.ids}) AND {covered(entry, 'm.id')}"
        ((number,),) = self._database.rows(sql)
        return int(number)

    def taken_out(self, entries: Sequence[str]) -> set[str]:
        """The user's own models that some entries of ``disable`` mean, and the aliases among the entries."""
        own = [each.id for each in self.sources if each.source.role == "user"]
        names = {name for source in own for name in self.declared(source)}
        meant = {*entries, *(target for entry in entries for target in self._targets(entry))}
        wildcards = [entry for entry in meant if entry.endswith("/*")]
        return (names & meant) | {name for name in names if any(covers(each, name) for each in wildcards)}

    def ids(self, limit: int) -> list[str]:
        """Some ids, and all of them where there are not more than the limit."""
        sql = f"SELECT m.id FROM models AS m WHERE {self._in_use.models} LIMIT {limit}"
        return [found for (found,) in self._database.rows(sql)]

    def names(self, prefix: str, limit: int) -> list[str]:
        """The first ids and aliases that start so, in order, and the very last: see :meth:`Registry.names`."""
        # A range of the index on ids, which SQLite would otherwise pass over for that on sources, and sort them all.
        models = "SELECT m.id FROM models AS m INDEXED BY models_by_id WHERE m.id >= ? AND m.id < ?"
        aliases = f"SELECT alias FROM aliases WHERE alias >= ? AND alias < ? AND source IN ({self._in_use.ids})"
        found: set[str] = set()
        for sql, column in ((f"{models} AND {self._in_use.models}", "m.id"), (aliases, "alias")):
            for order in (f"{column} LIMIT {limit}", f"{column} DESC LIMIT 1"):
                rows = self._database.rows(f"{sql} ORDER BY {order}", (prefix, f"{prefix}{_LAST_CHARACTER}"))
                found.update(name for (name,) in rows)
        names = sorted(found)
        return [*names[: limit - 1], *names[limit - 1 :][-1:]]

    def similar_ids(self, asked: str, limit: int) -> list[str]:
        """Ids that share the beginning of a word with what was asked, the most similar first."""
        sql = (
            "SELECT f.id FROM names JOIN facets AS f ON f.row = names.rowid "
            f"WHERE names MATCH ? AND {self._in_use.facets(None)} ORDER BY bm25(names) LIMIT {limit}"
        )
        match = similar(asked)
        return [found for (found,) in self._database.rows(sql, (match,))] if match else []

    # ------------------------------------------------------------ what sources say together

    def circles(self) -> list[tuple[str, list[IndexedSource]]]:
        """What is installed, and the user's own files, which may build on it; keys change with what is said there."""
        here = self._in_use.here
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
        key = f"{self._key(self.sources)} {self._surroundings!r}"
        notes = Notes(self._database)
        if (kept := notes.loose_ends(key)) is not None:
            if not kept:
                return []
            from layerzoo.registry.diagnostics import Diagnostic

            return [Diagnostic.from_dict(each) for each in kept]
        found = list(find())
        with contextlib.suppress(sqlite3.OperationalError):  # a note that cannot be taken is no reason to begin again
            notes.keep_loose_ends(key, [asdict(each) for each in found])
        return found

    def _key(self, sources: Sequence[IndexedSource]) -> str:
        return json.dumps([compiler(), [each.edition for each in sources], self._in_use.disabled])

    # ------------------------------------------------------------ aliases and diagnostics

    def target(self, alias: str) -> str | None:
        """Return the target of an alias; the nearest source counts.

        alias: of a user's own, with or without the user's namespace, in which names without a slash are read.
        """
        sql = f"SELECT source, target FROM aliases WHERE alias = ? AND source IN ({self._in_use.ids})"
        for name in dict.fromkeys((alias, alias.removeprefix(f"{USER_NAMESPACE}/"))):
            found: dict[int, str] = dict(self._database.rows(sql, (name,)))
            if target := next((found[each] for each in self._in_use.sources if each in found), None):
                return target
        return None

    def targets(self) -> dict[str, str]:
        """The target of every alias; of one that several files have, that of the nearest."""
        sql = "SELECT alias, target FROM aliases WHERE source = ?"
        return {alias: to for each in reversed(self._in_use.here) for alias, to in self._database.rows(sql, (each.id,))}

    def aliases_ending(self, name: str) -> list[str]:
        """The aliases whose last part is this name."""
        return [alias for alias, _ in self.aliases() if alias.rpartition("/")[2] == name]

    def _targets(self, entry: str) -> list[str]:
        """The ids that an entry of ``disable`` means where it is an alias, or an alias of one."""
        found = [entry]
        while len(found) <= MAX_ALIASES and (target := self.target(found[-1])) is not None and target not in found:
            found.append(target)
        return found[1:]

    def aliases(self, target: str | None = None) -> list[tuple[str, str]]:
        """Pairs of alias and target: all, or those of one target."""
        sql = f"SELECT alias, target FROM aliases WHERE source IN ({self._in_use.ids})"
        if target is None:
            return self._database.rows(f"{sql} ORDER BY alias")
        return self._database.rows(f"{sql} AND target = ? ORDER BY alias", (target,))

    def dangling_aliases(self) -> list[tuple[Source, str, str]]:
        """Aliases of what is neither a model nor an alias: the file that says so, the alias and its target."""
        models = f"SELECT 1 FROM models AS m WHERE m.id = a.target AND {self._in_use.models}"
        return self._aliases_where(f"NOT EXISTS ({models}) AND NOT EXISTS ({self._same_name})")

    def aliases_of_aliases(self) -> list[tuple[Source, str, str]]:
        """Aliases that stand for another alias: the file that says so, the alias and its target."""
        return self._aliases_where(f"EXISTS ({self._same_name})")

    @property
    def _same_name(self) -> str:
        # Two values to look up in the index: an OR of expressions would compare every alias with every other.
        own = f"{USER_NAMESPACE}/"
        short = f"CASE WHEN substr(a.target, 1, {len(own)}) = '{own}' THEN substr(a.target, {len(own) + 1}) END"
        return f"SELECT 1 FROM aliases AS b WHERE b.alias IN (a.target, {short}) AND b.source IN ({self._in_use.ids})"

    def _aliases_where(self, condition: str) -> list[tuple[Source, str, str]]:
        counts = f"a.source IN ({self._in_use.ids}) AND {condition}"
        rows = self._database.rows(f"SELECT source, alias, target FROM aliases AS a WHERE {counts} ORDER BY alias")
        return [(self._in_use.sources[source].source, alias, target) for source, alias, target in rows]

    def diagnostics(self, *, model: str | None = None, source: int | None = None) -> list[Diagnostic]:
        """What is wrong: everywhere, with one model, or in one file."""
        sql = f"SELECT fields FROM diagnostics WHERE source IN ({self._in_use.ids}) AND coalesce(?, model) IS model"
        rows = self._database.rows(f"{sql} AND coalesce(?, source) = source ORDER BY rowid", (model, source))
        if not rows:
            return []
        from layerzoo.registry.diagnostics import Diagnostic

        return [Diagnostic.from_dict(from_json(fields)) for (fields,) in rows]

    def disabled(self) -> list[str]:
        """Ids, or ``namespace/*``, that the user's files take out."""
        return list(self._in_use.disabled)

    def disabling(self, model: str) -> str | None:
        """The entry of ``disable`` that takes a model out, as it was written: its id, its namespace or an alias."""
        written: list[str] = [entry for each in self.sources for entry in each.head["disabled"]]
        return next((entry for entry in written if covers(entry, model) or model in self._targets(entry)), None)

    def idle_disabled(self) -> list[tuple[Source, str]]:
        """Entries that take nothing out, and the file that has them."""
        return [
            (each.source, entry)
            for each in self.sources
            for entry in each.head["disabled"]
            if not any(map(self._is_declared, (entry, *self._targets(entry))))
        ]

    def _is_declared(self, entry: str) -> bool:
        """Whether an entry of ``disable`` covers a model, disabled or not."""
        sql = f"SELECT 1 FROM models AS m WHERE m.source IN ({self._in_use.ids}) AND {covered(entry, 'm.id')} LIMIT 1"
        return bool(self._database.rows(sql))
