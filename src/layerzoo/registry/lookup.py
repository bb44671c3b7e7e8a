"""Looking things up in the zoo: models by id and by what they are, plugins, builders, defaults."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from layerzoo.errors import NotFoundError, PluginError, UsageError
from layerzoo.local_files import local_folder
from layerzoo.paths import LOCK_NAME, REGISTRY_NAME, cache_dir, user_folder
from layerzoo.registry.filters import Filters, check_filters, check_modality, check_order
from layerzoo.registry.heirs import Heirs
from layerzoo.registry.stock import Stock

if TYPE_CHECKING:  # listing models takes as long as importing all of these
    from layerzoo.registry.changes import Changes, UserFile
    from layerzoo.registry.diagnostics import Diagnostic
    from layerzoo.registry.discovery import Surroundings
    from layerzoo.registry.entry import Entry
    from layerzoo.registry.manifest import PluginManifest
    from layerzoo.registry.manifests import Manifests
    from layerzoo.registry.outcome import ImportOutcome
    from layerzoo.registry.references import References
    from layerzoo.registry.repositories import Repositories, Repository
    from layerzoo.registry.selection import Selection
    from layerzoo.registry.specs import Specs
    from layerzoo.registry.unknown import Unknown
    from layerzoo.spec import Modality, ModelSpec, Weights

AnswerT = TypeVar("AnswerT")


class Registry:
    """The zoo as some files declare it. Lookups change nothing, and may be made from several threads.

    surroundings: the plugins and the user's files; by default those that are here now.
    cache: the folder of the index; by default the user's.
    """

    def __init__(self, surroundings: Surroundings | None = None, *, cache: Path | None = None) -> None:
        self._stock = Stock(surroundings, cache or cache_dir())
        self._heirs = Heirs(lambda: self._specs)

    # What a question does not need is neither imported nor made.

    @cached_property
    def _manifests(self) -> Manifests:
        from layerzoo.registry.manifests import Manifests

        return Manifests(self._stock)

    @cached_property
    def _repositories(self) -> Repositories:
        from layerzoo.registry.repositories import Repositories

        return Repositories(self._stock, self._manifests)

    @cached_property
    def _unknown(self) -> Unknown:
        from layerzoo.registry.unknown import Unknown

        return Unknown(self._stock, self._manifests, self._repositories)

    @cached_property
    def _specs(self) -> Specs:
        from layerzoo.registry.specs import Specs

        return Specs(self._stock, lambda: self._unknown, lambda: self._repositories)

    @cached_property
    def _changes(self) -> Changes:
        from layerzoo.registry.changes import Changes

        return Changes(self._stock, self._specs)

    @cached_property
    def _references(self) -> References:
        from layerzoo.registry.references import References

        return References(self._stock, self._specs, self._heirs, self._unknown, self._repositories)

    @property
    def surroundings(self) -> Surroundings:
        """The plugins and files that this zoo consists of."""
        return self._stock.surroundings

    def user_files(self) -> list[UserFile]:
        """Return the user's own files that count here: registry files, the nearest first, then the lock.

        Raises: LockError when the lock cannot be used.
        """
        return self._changes.files()

    # ------------------------------------------------------------ models

    def model(self, id: str) -> ModelSpec:
        """The declaration of a model, with what its base declares in it.

        id: a full id or an alias.
        Raises: UnknownModelError, and of its kinds UnidentifiedModelError for a repository of the hub that was never
        looked at; RegistryError when the model is declared and not valid; PluginError when the file
        of its plugin cannot be used.
        """
        self._announce(id)
        return self._specs.named(id)

    def repository(self, id: str) -> Repository | None:
        """The repository of the hub that an id means, where it is of that form and its plugin has a hub."""
        return self._repositories.named(id)

    def found(self) -> list[ModelSpec]:
        """The repositories of the hub that were looked at here; a catalogue may have some of them too."""
        return self._repositories.found()

    def models(
        self, *, sort: str | None = None, limit: int | None = None, **filters: Unpack[Filters]
    ) -> list[ModelSpec]:
        """The installed models that are all of what is asked for.

        filters: see :class:`Filters`. sort: one of ``SORTS``, with a ``-`` in front for the largest first; models that
        do not declare it come last, and equals by id. Without it, by id; where words are given, the best match first.
        limit: how many at most. A model whose base is missing is left out; :meth:`problems` has it.
        Raises: UsageError for a filter, a modality or a sort key that does not exist, for a negative limit, and for
        ``installed=False`` or ``None``: a model that is not installed has no declaration here, see :meth:`entries`.
        """
        if filters.setdefault("installed", True) is not True:
            raise UsageError(
                "a model that is not installed has no declaration here. "
                "What is known of it: layerzoo.registry.registry().entries(installed=False)"
            )
        self._announce()
        names: dict[str, list[str]] = {}
        for alias, target in self._stock.ask(lambda shelf: shelf.aliases()):
            names.setdefault(target, []).append(alias)
        check_order(sort, limit)
        rows = self._ask(filters, lambda selection: selection.rows(sort, limit))
        found = (self._specs.usable(row, names.get(row.spec["id"], ())) for row in rows)
        return [spec for spec in found if spec is not None]

    def weights(self) -> dict[str, Weights]:
        """The weights of :meth:`models`, by id of those that have some, without reading their layers."""
        self._announce()
        rows = self._ask({}, lambda selection: selection.rows(layers=False))
        specs = (self._specs.usable(row) for row in rows)
        return {spec.id: spec.weights for spec in specs if spec and spec.weights}

    def ids(self, *, sort: str | None = None, limit: int | None = None, **filters: Unpack[Filters]) -> list[str]:
        """The ids of :meth:`models`, without reading the models; also of models that could be installed."""
        check_order(sort, limit)
        self._announce()
        return self._ask(filters, lambda selection: selection.ids(sort, limit))

    def entries(self, *, sort: str | None = None, limit: int | None = None, **filters: Unpack[Filters]) -> list[Entry]:
        """As :meth:`ids`, with all that a list shows of a model."""
        check_order(sort, limit)
        self._announce()
        return self._ask(filters, lambda selection: selection.entries(sort, limit))

    def count(self, **filters: Unpack[Filters]) -> int:
        """How many :meth:`ids` there are."""
        return self._ask(filters, lambda selection: selection.count())

    def unsized(self, **filters: Unpack[Filters]) -> int:
        """Count the models that a filter by size leaves out because their number of parameters is not known.

        Args:
            filters: as for :meth:`ids`.
        Returns: how many models fit all filters but ``min_params`` and ``max_params``, and declare no ``params``; 0
            where neither of these two is given.
        Raises: UsageError for a filter or a modality that does not exist.
        """
        check_filters(filters)
        if filters.get("min_params") is None and filters.get("max_params") is None:
            return 0
        others: Filters = {**filters, "min_params": None, "max_params": None}
        return self._ask(others, lambda selection: selection.count_unsized())

    def declared_at(self, id: str) -> str | None:
        """Where a model is declared, as FILE:LINE; FILE where its line is not known; None where it is in no file."""
        return self._references.place_of(id)

    def builders(self) -> list[str]:
        """The builders of all models, installed or not."""
        return self._ask({"installed": None}, lambda selection: selection.values("builder"))

    def licenses(self) -> list[str]:
        """The licenses of all models, installed or not."""
        return self._ask({"installed": None}, lambda selection: selection.values("license"))

    def names(self, prefix: str, *, limit: int) -> list[str]:
        """Ids and aliases that start with a prefix, in order.

        Where there are more than the limit, the very last one closes the list: what the first and the last have in
        common all have in common, which is what a shell completes.
        """
        return self._stock.ask(lambda shelf: shelf.names(prefix, limit))

    def ids_ending(self, name: str) -> list[str]:
        """Return the ids of the models whose id ends with a name, after a slash; where there are none, of those that
        have such an alias."""
        if ids := [model for model in self.ids() if model.endswith(f"/{name}")]:
            return ids
        aliases = self._stock.ask(lambda shelf: shelf.aliases_ending(name))
        return list(dict.fromkeys(map(self._specs.resolved, aliases)))

    def default_model(self, modality: Modality) -> str:
        """The id of the model that is used for a modality when none is named. It need not be installed.

        Raises: UsageError for a modality that does not exist.
        """
        check_modality(modality)
        for each in self._stock.sources:
            if modality in each.head["defaults"]:
                return str(each.head["defaults"][modality])
        message = f"there is no default model for {modality}; name one of: zoo list --modality {modality}"
        raise NotFoundError(message, asked=modality)

    # ------------------------------------------------------------ plugins

    def plugins(self) -> list[PluginManifest]:
        """Every plugin that is installed, usable or not, by namespace; layerzoo's own file is ``toy``."""
        return self._manifests.all()

    def plugin(self, name: str) -> PluginManifest:
        """The plugin of a namespace or a distribution.

        Raises: NotFoundError, which names what to install where that is known.
        """
        if manifest := self._manifests.named(name):
            return manifest
        raise self._unknown.plugin(name)

    def builder_plugin(self, builder: str) -> PluginManifest:
        """The plugin that makes the networks of a builder.

        Raises: PluginError when none does, or more than one.
        """
        offers = self._manifests.offering(builder)
        if not offers:
            raise self._unknown.builder(builder)
        if len(offers) > 1:
            names = " and ".join(each.distribution for each in offers)
            raise PluginError(f"the builder '{builder}' is offered by {names}: uninstall all but one", plugin=builder)
        return offers[0]

    def catalogue(self, plugin: PluginManifest) -> str | None:
        """The path of the catalogue that a plugin's registry.yaml names, whether it is there or not."""
        return self._manifests.catalogue(plugin)

    def published(self) -> dict[str, dict[str, Any]]:
        """Plugins that can be installed: ``package``, ``summary``, ``builders`` and ``hub`` by namespace."""
        return {name: dict(facts) for each in self._stock.sources for name, facts in each.head["published"].items()}

    # ------------------------------------------------------------ what is wrong, and what has changed

    def problems(self) -> list[Diagnostic]:
        """Everything that is wrong in the files that count here, by file and place: not valid, or leading nowhere."""
        places = {each.source.path: place for place, each in enumerate(self._stock.sources)}
        dangling = self._stock.ask(lambda shelf: shelf.loose_ends(lambda: self._references.dangling()))
        found = [*self._stock.ask(lambda shelf: shelf.diagnostics()), *dangling]
        found.sort(key=lambda problem: (places.get(problem.path, 0), problem.line, problem.column))
        return [*found, *self.surroundings.problems()]

    def is_current(self) -> bool:
        """Whether nothing was installed, removed or edited since this was made."""
        return self._stock.is_current()

    def keep_outcome(self, plugin: PluginManifest, outcome: ImportOutcome) -> None:
        """Remember how the import of a plugin went. A cache that cannot be written forgets it."""
        self._stock.keep_outcome(_place(plugin), outcome.to_dict())

    def outcome(self, plugin: PluginManifest) -> ImportOutcome | None:
        """How the last import of this version of a plugin went; None where that is not known."""
        kept = self._stock.outcome(_place(plugin))
        if kept is None:
            return None
        from layerzoo.registry.outcome import ImportOutcome

        return ImportOutcome(**kept)

    def remember_for_environment(self, name: str, find: Callable[[], Any]) -> Any:
        """Return what was found in the installed distributions, without reading them again.

        Args:
            name: what is looked for.
            find: finds it, as a JSON value; called where something was installed or removed since.
        """
        return self._stock.remember_for_environment(name, find)

    def _announce(self, model: str | None = None) -> None:
        """Announce what the user's own files change, where there are any: see :meth:`Changes.announce`."""
        folders = filter(None, (local_folder(), user_folder()))
        has_files = any(os.path.lexists(folder / name) for folder in folders for name in (REGISTRY_NAME, LOCK_NAME))
        if has_files or any(each.source.role == "user" for each in self._stock.sources):
            self._changes.announce(model)

    def _ask(self, filters: Filters, question: Callable[[Selection], AnswerT]) -> AnswerT:
        check_filters(filters)
        return self._stock.ask(lambda shelf: question(shelf.selection(filters, self._heirs.views(shelf))))


def _place(plugin: PluginManifest) -> str:
    """Which module it is: the same name may be another plugin in another environment, or be mended in a new version."""
    return json.dumps([plugin.module, plugin.path, plugin.version])
