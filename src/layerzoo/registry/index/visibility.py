"""Which rows of the index are visible: those of the current files, unless shadowed by a nearer file or disabled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from layerzoo.registry.format.source import RegistrySource
from layerzoo.registry.index.database import from_json
from layerzoo.registry.installed.plugin import USER_NAMESPACE, Installed


class IndexedSource(NamedTuple):
    """A file whose rows are in the index."""

    id: int
    source: RegistrySource
    state: str
    """The fingerprint of the file when it was compiled."""
    edition: str
    """Changes whenever the file is compiled again."""
    head: dict[str, Any]
    """The fields of :class:`layerzoo.registry.format.compiled.Head`."""

    @property
    def builders(self) -> list[str]:
        return list(self.head["builders"])


class Declaration(NamedTuple):
    """A model as declared, as a dictionary, and the file that declares it."""

    source: RegistrySource
    spec: dict[str, Any]


class Visibility:
    """The visible files, the nearest first, and SQL conditions for their visible rows.

    In a condition, ``m`` is the table of models and ``f`` the table of facets.
    """

    def __init__(self, sources: Sequence[IndexedSource], installed: Sequence[Installed]) -> None:
        self.sources = {source.id: source for source in sources}
        self.here = [source for source in sources if source.source.role != "published"]
        """All files but the list of models that can be installed."""
        self.ids = listed(source.id for source in self.here)
        self.disabled = [entry for source in sources for entry in source.head["disabled"]]
        """Ids, or ``namespace/*``, that the user's files disable."""
        self._installed = installed
        self._published = listed(source.id for source in sources if source.source.role == "published")

    @property
    def models(self) -> str:
        """Return the condition that a model is visible."""
        return f"(m.source IN ({self.ids}){self._visible('m.source', 'm.id')})"

    def disable(self, entries: Iterable[str]) -> None:
        """Disable more entries, such as the targets of disabled aliases."""
        self.disabled = list(dict.fromkeys((*self.disabled, *entries)))

    def facets(self, installed: bool | None, views: Sequence[int] = ()) -> str:
        """Return the condition that facets are visible: of installed models, of published ones, or both (None)."""
        scopes = [] if installed is False else [*(source.id for source in self.here), *(-view for view in views)]
        published = "" if installed is True else self._published
        condition = f"f.scope IN ({', '.join(filter(None, [*map(str, scopes), published])) or 'NULL'})"
        condition += self._visible("f.scope", "f.id")
        if published:
            owned = any_of(f"{plugin.namespace}/*" for plugin in self._installed)
            condition += f" AND NOT (f.scope IN ({published}) AND {owned})"
        return condition

    def row(self, source: int, spec: str) -> Declaration:
        """Return a row of the table of models as a declaration."""
        return Declaration(self.sources[source].source, from_json(spec))

    def namespaces_of(self, plugin: str) -> list[str]:
        """Return the namespaces of a plugin, by its namespace or its distribution."""
        namespaces = {installed.namespace for installed in self._installed if installed.is_called(plugin)}
        packages = (source.head["published"] for source in self.sources.values())
        namespaces |= {
            name for facts in packages for name, entry in facts.items() if plugin in (name, entry["package"])
        }
        namespaces |= {USER_NAMESPACE} & {plugin}
        return sorted(namespaces)

    def package(self, namespace: str) -> str | None:
        """Return the distribution that provides a namespace; None if it is unknown."""
        entries = (source.head["published"].get(namespace) for source in self.sources.values())
        return next((facts["package"] for facts in entries if facts), None)

    def _visible(self, source: str, id: str) -> str:
        """Return the end of a condition that excludes shadowed and disabled models."""
        exact = ", ".join(f"'{entry}'" for entry in self.disabled if not entry.endswith("/*"))
        namespaces = [entry for entry in self.disabled if entry.endswith("/*")]
        # One IN for all ids: SQLite refuses an expression that is more than 1,000 levels deep.
        condition = self._not_hidden(source, id) + (f" AND {id} NOT IN ({exact})" if exact else "")
        return condition + "".join(f" AND NOT {covered(entry, id)}" for entry in namespaces)

    def _not_hidden(self, source: str, id: str) -> str:
        """Return the condition that no nearer file declares the id. A registry.yaml is nearer than its catalogue."""
        conditions = []
        for rank, farther in enumerate(self.here):
            nearer = [source.id for source in self.here[:rank] if source.source.namespace == farther.source.namespace]
            if nearer:
                hidden = f"SELECT id FROM models WHERE source IN ({listed(nearer)})"
                conditions.append(f" AND NOT ({source} = {farther.id} AND {id} IN ({hidden}))")
        return "".join(conditions)


def covers(entry: str, model: str) -> bool:
    """Return whether an entry of ``disable``, an id or ``namespace/*``, covers this model."""
    return model.startswith(entry[:-1]) if entry.endswith("/*") else model == entry


def covered(entry: str, id: str) -> str:
    """Return :func:`covers` as an SQL condition. Quotes are no problem: the schema allows none in an id."""
    if not entry.endswith("/*"):
        return f"{id} = '{entry}'"
    # In ASCII, 0 follows the slash.
    return f"({id} >= '{entry[:-1]}' AND {id} < '{entry[:-2]}0')"


def any_of(entries: Iterable[str]) -> str:
    """Return the condition that some entry covers the facets."""
    # The plus keeps SQLite from using the index of ids: for most rows, a scan is faster than lookups.
    return f"({' OR '.join(covered(entry, '+f.id') for entry in entries) or 'FALSE'})"


def listed(numbers: Iterable[int]) -> str:
    """Return the list of numbers for an SQL ``IN``."""
    return ", ".join(map(str, numbers)) or "NULL"
