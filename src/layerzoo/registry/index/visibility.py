"""What counts here and now: the files in use, and what of their models a nearer file hides or the user disabled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from layerzoo.registry.format.source import RegistrySource
from layerzoo.registry.index.database import from_json
from layerzoo.registry.installed.plugin import USER_NAMESPACE, Installed


@dataclass(frozen=True, slots=True)
class IndexedSource:
    """A source that is in the index."""

    id: int
    source: RegistrySource
    state: str
    """The fingerprint of the file that the rows were made of."""
    edition: str
    """Changes whenever the rows are made again."""
    head: dict[str, Any]
    """The fields of :class:`layerzoo.registry.format.compile.Head`."""

    @property
    def builders(self) -> list[str]:
        return list(self.head["builders"])


@dataclass(frozen=True, slots=True)
class Declaration:
    """A model as declared, in plain form, and the source that declares it."""

    source: RegistrySource
    spec: dict[str, Any]


class Visibility:
    """The sources in use, the nearest first, and what belongs to them as conditions of queries.

    A condition is SQL in which ``m`` stands for the table of models and ``f`` for that of facets.
    """

    def __init__(self, sources: Sequence[IndexedSource], installed: Sequence[Installed]) -> None:
        self.sources = {each.id: each for each in sources}
        self.here = [each for each in sources if each.source.role != "published"]
        """All but the list of what could be installed."""
        self.ids = listed(each.id for each in self.here)
        self.disabled = [entry for each in sources for entry in each.head["disabled"]]
        """Ids, or ``namespace/*``, that the user's files take out."""
        self._installed = installed
        self._published = listed(each.id for each in sources if each.source.role == "published")

    @property
    def models(self) -> str:
        """Which models count, as a condition."""
        return f"(m.source IN ({self.ids}){self._visible('m.source', 'm.id')})"

    def disable(self, entries: Iterable[str]) -> None:
        """Disable more entries, such as the targets of disabled aliases."""
        self.disabled = list(dict.fromkeys((*self.disabled, *entries)))

    def facets(self, installed: bool | None, views: Sequence[int] = ()) -> str:
        """Which facets count, as a condition: those of installed models, of published ones, or of both."""
        scopes = [] if installed is False else [*(each.id for each in self.here), *(-view for view in views)]
        published = "" if installed is True else self._published
        condition = f"f.scope IN ({', '.join(filter(None, [*map(str, scopes), published])) or 'NULL'})"
        condition += self._visible("f.scope", "f.id")
        if published:
            owned = any_of(f"{each.namespace}/*" for each in self._installed)
            condition += f" AND NOT (f.scope IN ({published}) AND {owned})"
        return condition

    def row(self, source: int, spec: str) -> Declaration:
        """What the table of models has of one."""
        return Declaration(self.sources[source].source, from_json(spec))

    def namespaces_of(self, plugin: str) -> list[str]:
        """The namespaces that a name of a plugin or of a package means."""
        known = {each.namespace for each in self._installed if each.is_called(plugin)}
        packages = (each.head["published"] for each in self.sources.values())
        known |= {name for facts in packages for name, each in facts.items() if plugin in (name, each["package"])}
        known |= {USER_NAMESPACE} & {plugin}
        return sorted(known)

    def package(self, namespace: str) -> str | None:
        """What brings the models of a namespace, where that is known."""
        known = (each.head["published"].get(namespace) for each in self.sources.values())
        return next((facts["package"] for facts in known if facts), None)

    def _visible(self, source: str, id: str) -> str:
        """The end of a condition that leaves out what is hidden or disabled."""
        exact = ", ".join(f"'{entry}'" for entry in self.disabled if not entry.endswith("/*"))
        namespaces = [entry for entry in self.disabled if entry.endswith("/*")]
        # One IN for all ids: SQLite refuses an expression that is more than 1,000 levels deep.
        condition = self._not_hidden(source, id) + (f" AND {id} NOT IN ({exact})" if exact else "")
        return condition + "".join(f" AND NOT {covered(entry, id)}" for entry in namespaces)

    def _not_hidden(self, source: str, id: str) -> str:
        """Within a namespace the nearer file counts: a hand-written one before its catalogue, ./ before the user's."""
        conditions = []
        for place, farther in enumerate(self.here):
            nearer = [each.id for each in self.here[:place] if each.source.namespace == farther.source.namespace]
            if nearer:
                hidden = f"SELECT id FROM models WHERE source IN ({listed(nearer)})"
                conditions.append(f" AND NOT ({source} = {farther.id} AND {id} IN ({hidden}))")
        return "".join(conditions)


def covers(entry: str, model: str) -> bool:
    """Whether an entry of ``disable``, an id or ``namespace/*``, means this model."""
    return model.startswith(entry[:-1]) if entry.endswith("/*") else model == entry


def covered(entry: str, id: str) -> str:
    """The same as a condition, a range of ids. The schema lets only ids through, which hold no quotes."""
    if not entry.endswith("/*"):
        return f"{id} = '{entry}'"
    # What comes after a slash is the digit 0.
    return f"({id} >= '{entry[:-1]}' AND {id} < '{entry[:-2]}0')"


def any_of(entries: Iterable[str]) -> str:
    """The facets that some entry covers, as a condition."""
    # With a plus the index of ids is left alone: to look up most rows one by one is slower than to go through them all.
    return f"({' OR '.join(covered(entry, '+f.id') for entry in entries) or 'FALSE'})"


def listed(numbers: Iterable[int]) -> str:
    """What stands between the parentheses of an IN."""
    return ", ".join(map(str, numbers)) or "NULL"
