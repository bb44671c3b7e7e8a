"""Look up models by id or by filters, plugins, builders and default models."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from layerzoo.errors import NotFoundError, PluginError, UsageError
from layerzoo.local_files import local_folder
from layerzoo.paths import LOCK_NAME, REGISTRY_NAME, cache_dir, user_folder
from layerzoo.registry.index.query import Filters, check_limit, check_modality, parse_filters
from layerzoo.registry.index.reader import IndexReader
from layerzoo.registry.installed.plugin import USER_NAMESPACE

if TYPE_CHECKING:  # listing models takes as long as importing all of these
    from layerzoo.registry.changes import Changes, UserFile
    from layerzoo.registry.format.compiled import Compiled
    from layerzoo.registry.format.diagnostics import Diagnostic
    from layerzoo.registry.format.source import RegistrySource
    from layerzoo.registry.index.frame_models import FrameModels
    from layerzoo.registry.index.models import Specs
    from layerzoo.registry.index.plugins import Manifests
    from layerzoo.registry.index.references import References
    from layerzoo.registry.index.repositories import Repositories, Repository
    from layerzoo.registry.index.search import Entry, Selection
    from layerzoo.registry.index.unknown import Unknown
    from layerzoo.registry.index.visibility import Declaration, IndexedSource
    from layerzoo.registry.index.writer import IndexedModel
    from layerzoo.registry.installed.environment import Environment
    from layerzoo.registry.installed.health import ImportOutcome, PluginManifest
    from layerzoo.spec import Modality, ModelSpec, Weights

AnswerT = TypeVar("AnswerT")


class Inheritance:
    """Index models that have a base with the values that they inherit.

    Without these views, each search would combine every such model with its base.
    """

    def __init__(self, reader: IndexReader, specs: Callable[[], Specs]) -> None:
        """specs: returns the resolver of bases; it is called only where a view must be made."""
        self._reader = reader
        self._specs = specs

    def views(self) -> list[int]:
        """Return the views that contain them; create a view for new sources. Raises: sqlite3.DatabaseError."""
        views = [self._view(key, sources) for key, sources in self._reader.inheritance_scopes()]
        return [view for view in views if view is not None]

    def unusable(self) -> list[Declaration]:
        """Return the models whose base cannot be used."""
        return self._reader.ask(lambda: self._reader.unusable(self.views()))

    def _view(self, key: str, sources: Sequence[IndexedSource]) -> int | None:
        if not self._reader.has_based(sources):
            return None
        view = self._reader.view(key)
        return self._reader.keep_view(key, self._with_bases(sources)) if view is None else view

    def _with_bases(self, sources: Sequence[IndexedSource]) -> Iterator[IndexedModel]:
        from layerzoo.registry.format.compiled import facets_of
        from layerzoo.registry.index.writer import IndexedModel

        based = self._reader.based(sources)
        wholes = self._specs().inherited([row for _, row in based])
        for (number, _), fields in zip(based, wholes, strict=True):
            if fields is not None:
                yield IndexedModel.of(number, fields, facets_of(fields))


class Registry:
    """The models and plugins that a set of registry files declares. Lookups change nothing and are thread-safe.

    Args:
        environment: the plugins and the user's files; by default those that are installed now.
        cache: the folder of the index; by default the user's.
    """

    def __init__(self, environment: Environment | None = None, *, cache: Path | None = None) -> None:
        self._reader = IndexReader(environment, cache or cache_dir(), _compile_source)

    # Parts that a question does not use are neither imported nor created.

    @cached_property
    def _manifests(self) -> Manifests:
        from layerzoo.registry.index.plugins import Manifests

        return Manifests(self._reader)

    @cached_property
    def _repositories(self) -> Repositories:
        from layerzoo.registry.index.repositories import Repositories

        return Repositories(self._reader, self._manifests)

    @cached_property
    def _frame_models(self) -> FrameModels:
        from layerzoo.registry.index.frame_models import FrameModels

        return FrameModels(self._reader, self._manifests)

    @cached_property
    def _unknown(self) -> Unknown:
        from layerzoo.registry.index.unknown import Unknown

        return Unknown(self._reader, self._manifests, self._repositories)

    @cached_property
    def _specs(self) -> Specs:
        from layerzoo.registry.index.models import Specs

        return Specs(self._reader, lambda: self._unknown, lambda: self._repositories, lambda: self._frame_models)

    @cached_property
    def _inheritance(self) -> Inheritance:
        return Inheritance(self._reader, lambda: self._specs)

    @cached_property
    def _changes(self) -> Changes:
        from layerzoo.registry.changes import Changes

        return Changes(self._reader, self._specs)

    @cached_property
    def _references(self) -> References:
        from layerzoo.registry.index.references import References

        return References(self._reader, self._specs, self._inheritance.unusable, self._unknown, self._repositories)

    @property
    def environment(self) -> Environment:
        """The plugins and files of this registry."""
        return self._reader.environment

    def user_files(self) -> list[UserFile]:
        """Return the user's files that apply here: registry files, the nearest first, then the lock.

        Raises: LockError if the lock cannot be used.
        """
        return self._changes.files()

    # ------------------------------------------------------------ models

    def model(self, id: str) -> ModelSpec:
        """Return the declaration of a model, including what it inherits from its base.

        Args:
            id: a full id or an alias, or the end of one after a slash if only one model is called so: ``resnet50``.
        Raises: UnknownModelError, which names the candidates if the name is short for several models;
            UnidentifiedModelError, one kind of it, for a repository of the hub that was never inspected; RegistryError
            if the declaration is invalid; PluginError if the registry file of its plugin cannot be used.
        """
        self._announce(id)
        return self._specs.named(self._specs.expanded(id))

    def repository(self, id: str) -> Repository | None:
        """Return the repository of the hub that an id refers to; None if it does not refer to one."""
        return self._repositories.named(id)

    def found(self) -> list[ModelSpec]:
        """Return the repositories of the hub that were inspected here. A catalogue may list some of them too."""
        return self._repositories.found()

    def over_frames(self, id: str, base: ModelSpec) -> ModelSpec | None:
        """Return an image model as a video model.

        Args:
            id: of the video model.
            base: the image model, which may differ from the registry's.
        Returns: None if the id is declared, or is not of the form ``NAMESPACE/ID`` of a plugin that offers this.
        """
        model = None if self._specs.find(id) is not None else self._frame_models.named(id)
        return None if model is None else self._specs.over_frames(model, base)

    def frames_id(self, id: str) -> str | None:
        """Return the id of an image model as a video model; None if no installed plugin offers it.

        Args:
            id: of the image model.
        """
        return self._frame_models.id_for(id)

    def models(
        self,
        pattern: str | None = None,
        /,
        *,
        sort: str | None = None,
        limit: int | None = None,
        **filters: Unpack[Filters],
    ) -> list[ModelSpec]:
        """Return the installed models that match all filters. Models whose base is missing are omitted.

        Args:
            pattern: a pattern of ids, as the filter of that name.
            sort: one of ``SORTS``, with the prefix ``-`` for descending order; models without a value come last. By
                default the best match of ``text`` comes first; without ``text``, models are sorted by id.
            limit: the maximal number of models.
            filters: see :class:`Filters`.
        Raises: UsageError for an unknown filter, modality or sort key, for a negative limit, and for
            ``installed=False`` or ``None``: a model that is not installed has no declaration, see :meth:`entries`;
            NotFoundError for a plugin that is not installed, and where :meth:`unknown_value` returns one.
        """
        if pattern is not None:
            filters["pattern"] = pattern
        if filters.get("installed", True) in (None, False):
            raise UsageError(
                "a model that is not installed has no declaration here. "
                "To list such models: layerzoo.registry.registry().entries(installed=False)"
            )
        self._announce()
        check_limit(limit)
        rows = self._ask(filters, lambda selection: selection.rows(sort, limit))
        if not rows and (error := self.unknown_value(**filters)):
            raise error
        names = self._reader.aliases_by_target([row.spec["id"] for row in rows])
        specs = (self._specs.usable(row, names.get(row.spec["id"], ())) for row in rows)
        return [spec for spec in specs if spec is not None]

    def weights(self) -> dict[str, Weights]:
        """Return the weights of :meth:`models` by id, for models that have weights. Layers are not read."""
        self._announce()
        rows = self._ask({}, lambda selection: selection.rows(layers=False))
        specs = (self._specs.usable(row) for row in rows)
        return {spec.id: spec.weights for spec in specs if spec and spec.weights}

    def ids(self, *, sort: str | None = None, limit: int | None = None, **filters: Unpack[Filters]) -> list[str]:
        """Return the ids of :meth:`models` without reading the models. ``installed`` may have any value."""
        check_limit(limit)
        self._announce()
        return self._ask(filters, lambda selection: selection.ids(sort, limit))

    def entries(self, *, sort: str | None = None, limit: int | None = None, **filters: Unpack[Filters]) -> list[Entry]:
        """Return the fields that a list shows, for the same models as :meth:`ids`."""
        check_limit(limit)
        self._announce()
        return self._ask(filters, lambda selection: selection.entries(sort, limit))

    def count(self, **filters: Unpack[Filters]) -> int:
        """Count the models that match all filters."""
        return self._ask(filters, lambda selection: selection.count())

    def unknown_value(self, **filters: Unpack[Filters]) -> NotFoundError | None:
        """Return the error for a value of a filter that no model has, installed or not; None if there is none.

        An empty list would hide the mistake.

        Args:
            filters: as for :meth:`ids`.
        """
        plugin = filters.get("plugin") if filters.get("installed", True) is True else None
        if plugin is not None and plugin != USER_NAMESPACE and self._manifests.named(plugin) is None:
            return self._unknown.plugin(plugin)
        for name, noun, values in (
            ("license", "license", self.licenses),
            ("builder", "builder", self.builders),
            ("task", "task", lambda: self.tags("tasks")),
            ("trained_on", "training data", lambda: self.tags("trained_on")),
            ("language", "language", lambda: self.tags("languages")),
        ):
            value = filters.get(name)
            condition: Any = {name: value, "installed": None}
            if value is not None and not self.count(**condition):
                return self._unknown.value(noun, str(value), values())
        return None

    def matched_texts(self, **filters: Unpack[Filters]) -> list[str]:
        """Return the parts of ``text`` that the results match, where no model matches all of its words.

        Args:
            filters: as for :meth:`ids`.
        Returns: for ``bird audio``, ``["audio"]``; empty where the results match all words, and without results.
        """
        texts = self._ask(filters, lambda selection: selection.matched_texts())
        return [] if texts == [filters.get("text") or ""] else texts

    def nearest(self, name: str) -> list[str]:
        """Return the ids and aliases that are most similar to a name, installed or not."""
        return self._unknown.nearest(name)

    def unsized(self, **filters: Unpack[Filters]) -> int:
        """Count the models that a filter by size leaves out because their number of parameters is not known.

        Args:
            filters: as for :meth:`ids`.
        Returns: how many models fit all filters but ``min_params`` and ``max_params``, and declare no ``params``; 0
            where neither of these two is given.
        Raises: UsageError for a filter or a modality that does not exist.
        """
        parse_filters(filters)
        return self._count_undeclared(filters, "min_params", "max_params")

    def undeclared(self, **filters: Unpack[Filters]) -> dict[str, int]:
        """Count the models that filters leave out only because the models do not declare the value.

        Args:
            filters: as for :meth:`ids`.
        Returns: for each given filter of ``task``, ``trained_on`` and ``language`` that leaves out such models, how
            many fit all other filters.
        Raises: as for :meth:`unsized`.
        """
        parse_filters(filters)
        from layerzoo.registry.index.search import TAG_FILTERS

        return {name: number for name in TAG_FILTERS if (number := self._count_undeclared(filters, name))}

    def _count_undeclared(self, filters: Filters, *names: str) -> int:
        """Count the models that do not declare the value of a filter, by one or two names, and fit all others."""
        if all(filters.get(name) is None for name in names):
            return 0
        other_filters: Any = {**filters, **dict.fromkeys(names)}
        return self._ask(other_filters, lambda selection: selection.count_undeclared(names[0]))

    def declared_at(self, id: str) -> str | None:
        """Return where a model is declared: FILE:LINE, or FILE if the line is unknown; None if it is in no file."""
        return self._references.location(id)

    def builders(self) -> list[str]:
        """Return the builders of all models, installed or not."""
        return self._ask({"installed": None}, lambda selection: selection.values("builder"))

    def licenses(self) -> list[str]:
        """Return the licenses of all models, installed or not."""
        return self._ask({"installed": None}, lambda selection: selection.values("license"))

    def tags(self, facet: Literal["tasks", "trained_on", "languages"]) -> list[str]:
        """Return the tasks, the training data or the languages of all models, installed or not."""
        return self._ask({"installed": None}, lambda selection: selection.values(facet))

    def names(self, prefix: str, *, limit: int) -> list[str]:
        """Return ids and aliases that start with a prefix, sorted.

        If there are more than the limit, the list ends with the very last one. A prefix that the first and the last
        name share is shared by all names, and that is what a shell completes.
        """
        return self._reader.names(prefix, limit)

    def default_model(self, modality: Modality) -> str:
        """Return the id of the default model of a modality. It need not be installed.

        Raises: UsageError for an unknown modality; NotFoundError if the modality has no default model.
        """
        check_modality(modality)
        for source in self._reader.sources:
            if modality in source.head["defaults"]:
                return str(source.head["defaults"][modality])
        message = f"there is no default model for {modality}; name one of: zoo list --modality {modality}"
        raise NotFoundError(message, asked=modality)

    # ------------------------------------------------------------ plugins

    def plugins(self) -> list[PluginManifest]:
        """Return all installed plugins, usable or not, by namespace. That of layerzoo itself is ``toy``."""
        return self._manifests.all()

    def plugin(self, name: str) -> PluginManifest:
        """Return the plugin of a namespace or a distribution.

        Raises: NotFoundError, with the command that installs the plugin if it is known.
        """
        if manifest := self._manifests.named(name):
            return manifest
        raise self._unknown.plugin(name)

    def builder_plugin(self, builder: str) -> PluginManifest:
        """Return the plugin that offers a builder.

        Raises: PluginError if no plugin offers it, or several do.
        """
        offers = self._manifests.offering(builder)
        if not offers:
            raise self._unknown.builder(builder)
        if len(offers) > 1:
            names = " and ".join(offer.distribution for offer in offers)
            raise PluginError(f"the builder '{builder}' is offered by {names}: uninstall all but one", plugin=builder)
        return offers[0]

    def catalogue(self, plugin: PluginManifest) -> str | None:
        """Return the path of the catalogue that a plugin's registry.yaml names. The file need not exist."""
        return self._manifests.catalogue(plugin)

    def published(self) -> dict[str, dict[str, Any]]:
        """Return the plugins that can be installed: ``package``, ``summary``, ``builders`` and ``hub`` by namespace."""
        return self._reader.published()

    # ------------------------------------------------------------ problems and changes

    def problems(self) -> list[Diagnostic]:
        """Return all problems of the registry files, by file and line: invalid declarations and dangling references."""
        places = {source.source.path: position for position, source in enumerate(self._reader.sources)}
        dangling = self._reader.dangling_references(lambda: self._references.dangling())
        problems = [*self._reader.diagnostics(), *dangling]
        problems.sort(key=lambda problem: (places.get(problem.path, 0), problem.line, problem.column))
        return [*problems, *self.environment.problems()]

    def is_current(self) -> bool:
        """Return whether nothing was installed, removed or edited since this registry was made."""
        return self._reader.is_current()

    def keep_outcome(self, plugin: PluginManifest, outcome: ImportOutcome) -> None:
        """Store the outcome of importing a plugin. Nothing is stored if the cache cannot be written."""
        self._reader.keep_outcome(_import_key(plugin), outcome.to_dict())

    def outcome(self, plugin: PluginManifest) -> ImportOutcome | None:
        """Return the outcome of the last import of this version of a plugin; None if it is unknown."""
        outcome = self._reader.outcome(_import_key(plugin))
        if outcome is None:
            return None
        from layerzoo.registry.installed.health import ImportOutcome

        return ImportOutcome(**outcome)

    def remember_for_environment(self, name: str, find: Callable[[], Any]) -> Any:
        """Return a stored result about the installed distributions.

        Args:
            name: identifies the result.
            find: computes the result, a JSON value. It is called if a distribution was installed or removed since.
        """
        return self._reader.remember_for_environment(name, find)

    def _announce(self, model: str | None = None) -> None:
        """Announce what the user's own files change, where there are any: see :meth:`Changes.announce`."""
        folders = filter(None, (local_folder(), user_folder()))
        has_files = any(os.path.lexists(folder / name) for folder in folders for name in (REGISTRY_NAME, LOCK_NAME))
        if has_files or any(source.source.role == "user" for source in self._reader.sources):
            self._changes.announce(model)

    def _ask(self, filters: Filters, question: Callable[[Selection], AnswerT]) -> AnswerT:
        parsed = parse_filters(filters)
        return self._reader.ask(lambda: question(self._reader.selection(parsed, self._inheritance.views())))


def _import_key(plugin: PluginManifest) -> str:
    """Identify a module. The same name may be another plugin in another environment, or work in another version."""
    return json.dumps([plugin.module, plugin.path, plugin.version])


def _compile_source(source: RegistrySource, version: str | None, is_catalogue: bool) -> Compiled:
    from layerzoo.registry.format.compile import compile_source  # imports pydantic and yaml

    return compile_source(source, version, is_catalogue)


_lock = threading.RLock()
_current: tuple[Path, Registry] | None = None


def registry() -> Registry:
    """Return the registry of the current installation. Registries that were returned before remain usable."""
    global _current
    folder = cache_dir()
    with _lock:
        if _current is None or _current[0] != folder or not _current[1].is_current():
            _current = (folder, Registry())
        return _current[1]


def model(id: str) -> ModelSpec:
    """Return the declaration of a model. Imports no model library and downloads nothing.

    Args:
        id: a full id or an alias, or the end of one after a slash if only one model is called so: ``resnet50``.
    Raises: UnknownModelError with the nearest names, or with the ``pip install`` command that installs the model;
        RegistryError if the declaration is invalid; PluginError if the registry file of its plugin cannot be used.

    >>> layerzoo.model("next-word").id
    'toy/next-word'
    """
    return registry().model(id)


def models(
    pattern: str | None = None, /, *, sort: str | None = None, limit: int | None = None, **filters: Unpack[Filters]
) -> list[ModelSpec]:
    """Return the installed models that match all filters. Imports no model library and downloads nothing.

    Args:
        pattern: a pattern of the id or of an alias, or of their ends after a slash: ``vit*tiny*``, ``timm/*``.
        sort: ``id``, ``params``, ``width`` or another of ``layerzoo.registry.SORTS``, with the prefix ``-`` for
            descending order. By default the best match of ``text`` comes first, else models are sorted by id.
        limit: the maximal number of models.
        filters: ``modality``, ``plugin``, ``builder``, ``license``, ``min_params``, ``max_params``, ``size_px``,
            ``rate_hz``, ``width``, ``max_width``, ``metric``, ``task``, ``trained_on``, ``language``, and ``text``, the
            words of a search. A model that does not declare the filtered value does not match.
            Numbers may be written as on the command line: ``max_params="3M"``, ``size_px="384x256"``.
    Raises: UsageError for an unknown filter, modality or sort key, for a value that a filter cannot read, and for a
        negative limit; NotFoundError, with the nearest ones, for a plugin that is not installed, and for a task,
        training data, a language, a license or a builder that no model has.

    >>> [spec.id for spec in layerzoo.models("toy/*")]
    ['toy/next-word']
    """
    return registry().models(pattern, sort=sort, limit=limit, **filters)


if hasattr(os, "register_at_fork"):  # a lock that another thread holds would never be released in the child
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
