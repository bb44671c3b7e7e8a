"""Read the index: the models, aliases and diagnostics of the visible files."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from layerzoo.registry.format.source import RACY, fingerprint
from layerzoo.registry.index.database import Database, KeptResults, from_json
from layerzoo.registry.index.query import similar
from layerzoo.registry.index.visibility import Declaration, Visibility, covered, covers, listed
from layerzoo.registry.index.writer import Index, compiler_version
from layerzoo.registry.installed.environment import discover, remembered
from layerzoo.registry.installed.plugin import USER_NAMESPACE

if TYPE_CHECKING:
    from layerzoo.registry.format.diagnostics import Diagnostic
    from layerzoo.registry.format.source import RegistrySource
    from layerzoo.registry.index.query import Filters
    from layerzoo.registry.index.search import Selection
    from layerzoo.registry.index.visibility import IndexedSource
    from layerzoo.registry.index.writer import CompileSource, IndexedModel
    from layerzoo.registry.installed.environment import Environment

MAX_ALIASES = 32
"""The maximal length of a chain of aliases."""
_FEW_TARGETS = 500
"""The largest number of models whose aliases are looked up one by one: for more, all aliases are read."""
_LAST_CHARACTER = "\U0010ffff"


AnswerT = TypeVar("AnswerT")
Arguments = ParamSpec("Arguments")


def _query(
    method: Callable[Concatenate[IndexReader, Arguments], AnswerT],
) -> Callable[Concatenate[IndexReader, Arguments], AnswerT]:
    """Decorate a query, so that it is repeated if the database fails: see :meth:`IndexReader.ask`."""

    @wraps(method)
    def query(self: IndexReader, /, *args: Arguments.args, **options: Arguments.kwargs) -> AnswerT:
        return self.ask(lambda: method(self, *args, **options))

    return query


class IndexReader:
    """Query the index about the files that are visible here, and reopen it when the database fails.

    A database that is damaged, locked or on a full disk is replaced by one that works. Answers stay the same.
    """

    def __init__(self, environment: Environment | None, cache: Path, compile_source: CompileSource) -> None:
        """Open the index and compile the files that have changed.

        Args:
            environment: the plugins and the user's files; None to discover those that are installed now.
            cache: the folder of the database.
            compile_source: see :func:`layerzoo.registry.format.compile.compile_source`.
        """
        self._compile_source = compile_source
        self._lock = threading.RLock()
        self._is_asking = True
        self._database = Database.open(cache)
        self.environment = environment or discover(KeptResults(self._database))
        self._open()
        self._is_asking = False
        _readers.add(self)

    @property
    def sources(self) -> list[IndexedSource]:
        """The visible files, the nearest first."""
        return list(self._visibility.sources.values())

    def published(self) -> dict[str, dict[str, Any]]:
        """Return ``package``, ``summary``, ``builders`` and ``hub`` of published plugins, by namespace."""
        return {name: dict(facts) for source in self.sources for name, facts in source.head["published"].items()}

    def ask(self, question: Callable[[], AnswerT]) -> AnswerT:
        """Return the answer to a question of several queries, all of them to the same state of the index.

        If the database fails, it is reopened and the whole question is asked again. Other threads wait. A query within
        a question is not repeated on its own, because the numbers of sources may differ between two databases.
        """
        with self._lock:
            if self._is_asking:
                return question()
            self._is_asking = True
            try:
                for _ in range(2):  # the second failure leads to a database in memory
                    try:
                        return question()
                    except sqlite3.DatabaseError as error:
                        self._database = self._database.instead(error)
                        self._open()
                return question()
            finally:
                self._is_asking = False

    def is_current(self) -> bool:
        """Return whether nothing was installed, removed or edited since the index was opened."""
        if discover(KeptResults(self._database)) != self.environment:
            return False
        return all(state != RACY and fingerprint(path) == state for path, state in self._states())

    def after_fork(self) -> None:
        """Give the child process a database connection and a new lock."""
        self._lock = threading.RLock()
        self._is_asking = False
        self._database.after_fork()

    def _open(self) -> None:
        for _ in range(2):
            try:
                return self._read_sources()
            except sqlite3.DatabaseError as error:
                self._database = self._database.instead(error)
        self._database = Database.in_memory()
        return self._read_sources()

    def _read_sources(self) -> None:
        self._index = Index(self._database, self._compile_source)
        sources = self._index.update(self.environment.sources(), self.environment.version)
        self._visibility = Visibility(sources, self.environment.installed)
        self._visibility.disable(target for entry in self._visibility.disabled for target in self._targets(entry))

    def selection(self, filters: Filters, views: Sequence[int] = ()) -> Selection:
        """Return the models that match the filters. Use it within :meth:`ask`: it sends its queries later."""
        from layerzoo.registry.index.search import Selection

        return Selection(self._database, self._visibility, filters, views)

    def remember_for_environment(self, name: str, find: Callable[[], Any]) -> Any:
        """See :meth:`layerzoo.registry.Registry.remember_for_environment`."""
        return remembered(KeptResults(self._database), name, find)

    # ------------------------------------------------------------ imports of plugins

    def keep_outcome(self, module: str, outcome: dict[str, Any]) -> None:
        """Store the outcome of importing a plugin's module. Nothing is stored if the database cannot be written."""
        with contextlib.suppress(sqlite3.DatabaseError):
            KeptResults(self._database).keep_outcome(module, outcome)

    @_query
    def outcome(self, module: str) -> dict[str, Any] | None:
        """Return the outcome of the last import of a plugin's module; None if it was never imported."""
        return KeptResults(self._database).outcome(module)

    # ------------------------------------------------------------ models

    @_query
    def find(self, model: str) -> Declaration | None:
        """Return the declaration of a model; None if it is not visible."""
        sql = f"SELECT m.source, m.spec FROM models AS m WHERE m.id = ? AND {self._visibility.models}"
        return next((self._visibility.row(*columns) for columns in self._database.rows(sql, (model,))), None)

    @_query
    def based(self, sources: Iterable[IndexedSource]) -> list[tuple[int, Declaration]]:
        """Return the models of some files that have a base, each with the number of its row."""
        sql = (
            f"SELECT m.row, m.source, m.spec FROM models AS m WHERE m.base IS NOT NULL AND {self._visibility.models} "
            f"AND m.source IN ({listed(source.id for source in sources)})"
        )
        return [(number, self._visibility.row(*columns)) for number, *columns in self._database.rows(sql)]

    @_query
    def has_based(self, sources: Iterable[IndexedSource]) -> bool:
        """Return whether some files have models with a base."""
        ids = listed(source.id for source in sources)
        sql = f"SELECT 1 FROM models INDEXED BY models_with_base WHERE base IS NOT NULL AND source IN ({ids}) LIMIT 1"
        return bool(self._database.rows(sql))

    @_query
    def unusable(self, views: Sequence[int]) -> list[Declaration]:
        """Return the models whose base cannot be resolved. No view contains them."""
        in_views = f"SELECT 1 FROM facets AS f WHERE f.id = m.id AND f.scope IN ({listed(-view for view in views)})"
        condition = f"m.base IS NOT NULL AND {self._visibility.models} AND NOT EXISTS ({in_views})"
        sql = f"SELECT m.source, m.spec FROM models AS m WHERE {condition}"
        return [self._visibility.row(*columns) for columns in self._database.rows(sql)]

    @_query
    def count(self, source: int) -> int:
        ((number,),) = self._database.rows(
            f"SELECT count(*) FROM models AS m WHERE m.source = ? AND {self._visibility.models}", (source,)
        )
        return int(number)

    @_query
    def declared(self, source: int) -> list[str]:
        """Return the ids that a file declares, in its order, including shadowed and disabled ones."""
        sql = "SELECT id FROM models WHERE source = ? ORDER BY row"
        return [model for (model,) in self._database.rows(sql, (source,))]

    @_query
    def bases(self, source: int) -> list[tuple[str, str]]:
        """Return the pairs of model and base of a file."""
        return self._database.rows("SELECT id, base FROM models WHERE source = ? AND base IS NOT NULL", (source,))

    @_query
    def covered(self, entry: str) -> int:
        """Count the models that an entry of ``disable`` covers."""
        sql = (
            f"SELECT count(*) FROM models AS m WHERE m.source IN ({self._visibility.ids}) AND {covered(entry, 'm.id')}"
        )
        ((number,),) = self._database.rows(sql)
        return int(number)

    @_query
    def taken_out(self, entries: Sequence[str]) -> set[str]:
        """Return the user's own models that some entries of ``disable`` cover, directly or by an alias."""
        own = [source.id for source in self.sources if source.source.role == "user"]
        names = {name for source in own for name in self.declared(source)}
        all_entries = {*entries, *(target for entry in entries for target in self._targets(entry))}
        wildcards = [entry for entry in all_entries if entry.endswith("/*")]
        return (names & all_entries) | {name for name in names if any(covers(wildcard, name) for wildcard in wildcards)}

    @_query
    def ids(self, limit: int) -> list[str]:
        """Return the ids of visible models, up to a limit."""
        sql = f"SELECT m.id FROM models AS m WHERE {self._visibility.models} LIMIT {limit}"
        return [model for (model,) in self._database.rows(sql)]

    @_query
    def names(self, prefix: str, limit: int) -> list[str]:
        """Return the first ids and aliases with a prefix, and the very last one: see :meth:`Registry.names`."""
        # INDEXED BY: SQLite would choose the index on sources, and sort all ids.
        models = "SELECT m.id FROM models AS m INDEXED BY models_by_id WHERE m.id >= ? AND m.id < ?"
        aliases = f"SELECT alias FROM aliases WHERE alias >= ? AND alias < ? AND source IN ({self._visibility.ids})"
        unique_names: set[str] = set()
        for sql, column in ((f"{models} AND {self._visibility.models}", "m.id"), (aliases, "alias")):
            for order in (f"{column} LIMIT {limit}", f"{column} DESC LIMIT 1"):
                rows = self._database.rows(f"{sql} ORDER BY {order}", (prefix, f"{prefix}{_LAST_CHARACTER}"))
                unique_names.update(name for (name,) in rows)
        names = sorted(unique_names)
        return [*names[: limit - 1], *names[limit - 1 :][-1:]]

    @_query
    def ids_ending(self, name: str) -> list[str]:
        """Return the ids that end with a slash and this name, sorted."""
        sql = f"SELECT m.id FROM models AS m WHERE substr(m.id, ?) = ? AND {self._visibility.models} ORDER BY m.id"
        return [model for (model,) in self._database.rows(sql, (-len(name) - 1, f"/{name}"))]

    def has_namespace(self, namespace: str) -> bool:
        """Return whether a namespace belongs to the user, or to a plugin that is installed or published."""
        return namespace == USER_NAMESPACE or bool(self._visibility.namespaces_of(namespace))

    @_query
    def similar_ids(self, name: str, limit: int) -> list[str]:
        """Return ids that share the first letters of a word with a name, the most similar first."""
        sql = (
            "SELECT f.id FROM names JOIN facets AS f ON f.row = names.rowid "
            f"WHERE names MATCH ? AND {self._visibility.facets(None)} ORDER BY bm25(names) LIMIT {limit}"
        )
        match = similar(name)
        return [model for (model,) in self._database.rows(sql, (match,))] if match else []

    # ------------------------------------------------------------ inheritance and references

    def inheritance_scopes(self) -> list[tuple[str, list[IndexedSource]]]:
        """Return the files that are resolved together, each set with a key that changes with its content.

        The installed files may not refer to the user's files, but the user's may refer to the installed ones."""
        sources = self._visibility.here
        installed = [source for source in sources if source.source.role != "user"]
        own = [source for source in sources if source.source.role == "user"]
        return [(self._key(installed), installed), (self._key(sources), own)]

    @_query
    def view(self, key: str) -> int | None:
        """See :meth:`Index.view`."""
        return self._index.view(key)

    @_query
    def keep_view(self, key: str, models: Iterable[IndexedModel]) -> int:
        """See :meth:`Index.keep_view`."""
        return self._index.keep_view(key, models)

    @_query
    def dangling_references(self, find: Callable[[], Iterable[Diagnostic]]) -> list[Diagnostic]:
        """Return the dangling references that are stored for these files; otherwise find and store them."""
        key = f"{self._key(self.sources)} {self.environment!r}"
        notes = KeptResults(self._database)
        if (stored := notes.dangling_references(key)) is not None:
            if not stored:
                return []
            from layerzoo.registry.format.diagnostics import Diagnostic

            return [Diagnostic.from_dict(record) for record in stored]
        diagnostics = list(find())
        with contextlib.suppress(sqlite3.OperationalError):  # the result is still valid if it cannot be stored
            notes.keep_dangling_references(key, [asdict(diagnostic) for diagnostic in diagnostics])
        return diagnostics

    def _key(self, sources: Sequence[IndexedSource]) -> str:
        return json.dumps([compiler_version(), [source.edition for source in sources], self._visibility.disabled])

    # ------------------------------------------------------------ aliases and diagnostics

    @_query
    def target(self, alias: str) -> str | None:
        """Return the target of an alias in the nearest file; None if there is no such alias.

        Args:
            alias: the alias. An alias of the user's may have the prefix of the user's namespace.
        """
        sql = f"SELECT source, target FROM aliases WHERE alias = ? AND source IN ({self._visibility.ids})"
        for name in dict.fromkeys((alias, alias.removeprefix(f"{USER_NAMESPACE}/"))):
            targets: dict[int, str] = dict(self._database.rows(sql, (name,)))
            if target := next((targets[source] for source in self._visibility.sources if source in targets), None):
                return target
        return None

    @_query
    def targets(self) -> dict[str, str]:
        """Return the target of each alias, as the nearest file declares it."""
        sql = "SELECT alias, target FROM aliases WHERE source = ?"
        return {
            alias: to
            for source in reversed(self._visibility.here)
            for alias, to in self._database.rows(sql, (source.id,))
        }

    @_query
    def aliases_ending(self, name: str) -> list[str]:
        """Return the aliases that end with a slash and this name, or are equal to it."""
        return [alias for alias, _ in self.aliases() if alias.rpartition("/")[2] == name]

    def _targets(self, entry: str) -> list[str]:
        """Return the targets of an entry of ``disable`` that is an alias."""
        targets = [entry]
        while (
            len(targets) <= MAX_ALIASES and (target := self.target(targets[-1])) is not None and target not in targets
        ):
            targets.append(target)
        return targets[1:]

    @_query
    def aliases(self, target: str | None = None) -> list[tuple[str, str]]:
        """Return pairs of alias and target, of all targets or of one."""
        sql = f"SELECT alias, target FROM aliases WHERE source IN ({self._visibility.ids})"
        if target is None:
            return self._database.rows(f"{sql} ORDER BY alias")
        return self._database.rows(f"{sql} AND target = ? ORDER BY alias", (target,))

    @_query
    def aliases_by_target(self, models: Sequence[str]) -> dict[str, list[str]]:
        """Return the aliases of some models, in order, by id; a model without aliases has no key."""
        few = models if len(models) <= _FEW_TARGETS else None
        condition = "" if few is None else f"AND target IN ({', '.join('?' * len(few))})"
        sql = f"SELECT alias, target FROM aliases WHERE source IN ({self._visibility.ids}) {condition} ORDER BY alias"
        names: dict[str, list[str]] = {}
        for alias, target in self._database.rows(sql, few or ()):
            names.setdefault(target, []).append(alias)
        return names

    @_query
    def dangling_aliases(self) -> list[tuple[RegistrySource, str, str]]:
        """Return the aliases whose target is neither a model nor an alias: file, alias and target."""
        models = f"SELECT 1 FROM models AS m WHERE m.id = a.target AND {self._visibility.models}"
        return self._aliases_where(f"NOT EXISTS ({models}) AND NOT EXISTS ({self._same_name})")

    @_query
    def aliases_of_aliases(self) -> list[tuple[RegistrySource, str, str]]:
        """Return the aliases of other aliases: file, alias and target."""
        return self._aliases_where(f"EXISTS ({self._same_name})")

    @property
    def _same_name(self) -> str:
        # IN uses the index; with an OR of expressions, SQLite compares all pairs of aliases.
        own = f"{USER_NAMESPACE}/"
        short = f"CASE WHEN substr(a.target, 1, {len(own)}) = '{own}' THEN substr(a.target, {len(own) + 1}) END"
        return (
            f"SELECT 1 FROM aliases AS b WHERE b.alias IN (a.target, {short}) AND b.source IN ({self._visibility.ids})"
        )

    def _aliases_where(self, condition: str) -> list[tuple[RegistrySource, str, str]]:
        counts = f"a.source IN ({self._visibility.ids}) AND {condition}"
        rows = self._database.rows(f"SELECT source, alias, target FROM aliases AS a WHERE {counts} ORDER BY alias")
        return [(self._visibility.sources[source].source, alias, target) for source, alias, target in rows]

    @_query
    def diagnostics(self, *, model: str | None = None, source: int | None = None) -> list[Diagnostic]:
        """Return the diagnostics, of all files or of one, of all models or of one."""
        sql = f"SELECT fields FROM diagnostics WHERE source IN ({self._visibility.ids}) AND coalesce(?, model) IS model"
        rows = self._database.rows(f"{sql} AND coalesce(?, source) = source ORDER BY rowid", (model, source))
        if not rows:
            return []
        from layerzoo.registry.format.diagnostics import Diagnostic

        return [Diagnostic.from_dict(from_json(fields)) for (fields,) in rows]

    def disabled(self) -> list[str]:
        """Return the ids, or ``namespace/*``, that the user's files disable."""
        return list(self._visibility.disabled)

    @_query
    def disabling(self, model: str) -> str | None:
        """Return the entry of ``disable`` that covers a model, as written: its id, its namespace or an alias."""
        entries: list[str] = [entry for source in self.sources for entry in source.head["disabled"]]
        return next((entry for entry in entries if covers(entry, model) or model in self._targets(entry)), None)

    @_query
    def unused_disabled(self) -> list[tuple[RegistrySource, str]]:
        """Return the entries of ``disable`` that cover no model, each with its file."""
        return [
            (source.source, entry)
            for source in self.sources
            for entry in source.head["disabled"]
            if not any(map(self._is_declared, (entry, *self._targets(entry))))
        ]

    def _is_declared(self, entry: str) -> bool:
        """Return whether an entry of ``disable`` covers a model, disabled or not."""
        sql = (
            f"SELECT 1 FROM models AS m WHERE m.source IN ({self._visibility.ids}) AND {covered(entry, 'm.id')} LIMIT 1"
        )
        return bool(self._database.rows(sql))

    def _states(self) -> Iterable[tuple[str, str | None]]:
        """Return each visible file and its fingerprint when it was read; None for a missing file."""
        sources = self.sources
        files = [source.path for source in self.environment.sources()]
        catalogues = [path for source in sources if (path := source.head["catalogue"])]
        absent: dict[str, str | None] = dict.fromkeys([*files, *catalogues])
        return (absent | {source.source.path: source.state for source in sources}).items()


_readers: weakref.WeakSet[IndexReader] = weakref.WeakSet()


def _reopen_in_child() -> None:
    for reader in list(_readers):
        reader.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reopen_in_child)
