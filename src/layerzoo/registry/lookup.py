"""Looking things up in the zoo: models by id and by what they are, plugins, builders, defaults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from layerzoo.disk import cache_dir
from layerzoo.errors import LayerzooError, NotFoundError, PluginError, UsageError, nearest
from layerzoo.registry.diagnostics import Diagnostic
from layerzoo.registry.discovery import Surroundings
from layerzoo.registry.manifest import PluginManifest
from layerzoo.registry.manifests import Manifests
from layerzoo.registry.shelf import Filters, Shelf
from layerzoo.registry.specs import Specs
from layerzoo.registry.stock import Stock
from layerzoo.registry.unknown import Unknown
from layerzoo.spec import MODALITIES, Modality, ModelSpec


class Registry:
    """The zoo as some files declare it. Lookups change nothing, and may be made from several threads.

    surroundings: the plugins and the user's files; by default those that are here now.
    cache: the folder of the index; by default the user's.
    """

    def __init__(self, surroundings: Surroundings | None = None, *, cache: Path | None = None) -> None:
        self._stock = Stock(surroundings, cache or cache_dir())
        self._manifests = Manifests(self._stock)
        self._unknown = Unknown(self._stock, self._manifests)
        self._specs = Specs(self._stock, self._unknown)

    @property
    def surroundings(self) -> Surroundings:
        """The plugins and files that this zoo consists of."""
        return self._stock.surroundings

    # ------------------------------------------------------------ models

    def model(self, id: str) -> ModelSpec:
        """The declaration of a model, with what its base declares in it.

        id: a full id or an alias.
        Raises: UnknownModelError; RegistryError when the model is declared and not valid; PluginError when the file
        of its plugin cannot be used.
        """
        return self._specs.named(id)

    def models(
        self,
        *,
        modality: Modality | None = None,
        plugin: str | None = None,
        license: str | None = None,
        max_params: int | None = None,
        text: str | None = None,
    ) -> list[ModelSpec]:
        """The models that are all of what is asked for, by id; where words are given, the best match first.

        plugin: a namespace or a distribution. license: in any case (``mit``, ``MIT``). max_params: a model whose
        number of parameters is not known is left out. text: every word must begin a word of the id, the summary, the
        modality, the builder or the license. A model whose base is missing is left out; :meth:`problems` has it.
        Raises: UsageError for a modality that does not exist.
        """
        filters = _filters(modality, plugin, license, max_params, text)
        names: dict[str, list[str]] = {}
        for alias, target in self._stock.ask(Shelf.aliases):
            names.setdefault(target, []).append(alias)
        rows = self._stock.ask(lambda shelf: list(shelf.select(filters)))
        found = (self._specs.usable(row, names.get(row.spec["id"], ())) for row in rows)
        return [spec for spec in found if spec is not None and _fits(spec, filters)]

    def ids(
        self,
        *,
        modality: Modality | None = None,
        plugin: str | None = None,
        license: str | None = None,
        max_params: int | None = None,
        text: str | None = None,
    ) -> list[str]:
        """The ids of :meth:`models`, without reading the models."""
        filters = _filters(modality, plugin, license, max_params, text)
        found = self._stock.ask(lambda shelf: shelf.select_ids(filters))
        return [model for model, is_based in found if not is_based or self._fits_with_base(model, filters)]

    def default_model(self, modality: Modality) -> str:
        """The id of the model that is used for a modality when none is named. It need not be installed.

        Raises: UsageError for a modality that does not exist.
        """
        _check_modality(modality)
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

    def published(self) -> dict[str, dict[str, Any]]:
        """Plugins that can be installed: ``package``, ``summary`` and ``builders`` by namespace."""
        return self._unknown.published()

    # ------------------------------------------------------------ what is wrong, and what has changed

    def problems(self) -> list[Diagnostic]:
        """Everything that is wrong in the files that count here: what is not valid, and what leads nowhere."""
        return [*self._stock.ask(lambda shelf: shelf.diagnostics()), *self._loose_ends()]

    def is_current(self) -> bool:
        """Whether nothing was installed, removed or edited since this was made."""
        return self._stock.is_current()

    def keep_outcome(self, plugin: PluginManifest, outcome: dict[str, Any]) -> None:
        """Remember how the import of a plugin went. A cache that cannot be written forgets it."""
        self._stock.keep_outcome(_place(plugin), outcome)

    def outcome(self, plugin: PluginManifest) -> dict[str, Any] | None:
        """How the import of a plugin went last; None where that is not known."""
        return self._stock.outcome(_place(plugin))

    def _loose_ends(self) -> Iterator[Diagnostic]:
        """Names in files that lead to nothing."""
        for source, alias, target in self._stock.ask(Shelf.dangling_aliases):
            message = f"the alias '{alias}' stands for {target}: {self._unknown.model(target)}"
            yield Diagnostic(path=source.path, code="reference", message=message)
        for row in self._stock.ask(Shelf.based):
            try:
                self._specs.whole(row)
            except LayerzooError as error:
                yield Diagnostic(path=row.source.path, code="reference", message=str(error), model=row.spec["id"])
        for source, entry in self._stock.ask(Shelf.idle_disabled):
            yield Diagnostic(path=source.path, code="reference", message=f"`disable: [{entry}]` matches no model")

    def _fits_with_base(self, model: str, filters: Filters) -> bool:
        row = self._specs.find(model)
        spec = None if row is None else self._specs.usable(row)
        return spec is not None and _fits(spec, filters)


def _place(plugin: PluginManifest) -> str:
    """Where a plugin's module is: the same name may be another plugin in another environment."""
    return f"{plugin.module} {plugin.path}"


def _filters(
    modality: str | None, plugin: str | None, license: str | None, max_params: int | None, text: str | None
) -> Filters:
    if modality is not None:
        _check_modality(modality)
    return Filters(modality=modality, plugin=plugin, license=license, max_params=max_params, text=text)


def _check_modality(modality: str) -> None:
    if modality not in MODALITIES:
        close = nearest(modality, MODALITIES)
        hint = f"Nearest: {', '.join(close)}. " if close else ""
        raise UsageError(f"there is no modality '{modality}'. {hint}All: {', '.join(MODALITIES)}")


def _fits(spec: ModelSpec, filters: Filters) -> bool:
    """Whether what a spec has of its base fits too; the index knows only what is declared."""
    if filters.license is not None and (spec.license or "").lower() != filters.license.lower():
        return False
    return filters.max_params is None or (spec.params is not None and spec.params <= filters.max_params)
