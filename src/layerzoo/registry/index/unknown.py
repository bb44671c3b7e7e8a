"""Errors for unknown names: why a name is unknown, and what to do. One method for each kind of name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

from layerzoo.errors import (
    LayerzooError,
    NotFoundError,
    NotInstalledError,
    PluginError,
    RegistryError,
    UnidentifiedModelError,
    UnknownModelError,
    nearest,
    nearest_hint,
)
from layerzoo.registry.index.plugins import Manifests
from layerzoo.registry.index.query import Filters
from layerzoo.registry.index.reader import IndexReader
from layerzoo.registry.index.repositories import Repositories, is_repository
from layerzoo.registry.installed import advice
from layerzoo.registry.installed.environment import NO_PLUGINS
from layerzoo.registry.installed.health import PluginManifest
from layerzoo.registry.installed.plugin import USER_NAMESPACE

_LEFT_OUT = f"all plugins are ignored (--no-plugins, or {NO_PLUGINS} in the environment)"

# difflib takes 20 µs a name. With more names than this, only names with a similar word are compared.
COMPARED_NAMES = 5_000
_PUBLISHED: Filters = {"installed": False}


_hints: ContextVar[list[int] | None] = ContextVar("hints", default=None)
"""How many more names may be compared with existing names; None for no limit."""


@contextlib.contextmanager
def few_hints(count: int) -> Iterator[None]:
    """Limit the search for nearest names, which takes up to 0.1 s for each unknown name, to the first few."""
    token = _hints.set([count])
    try:
        yield
    finally:
        _hints.reset(token)


def nearest_within_limit(name: str, names: Callable[[], Sequence[str]]) -> list[str]:
    """Return the nearest names; none if :func:`few_hints` allows no more comparisons."""
    if (remaining := _hints.get()) is not None:
        if remaining[0] <= 0:
            return []
        remaining[0] -= 1
    return nearest(name, names())


class Unknown:
    """Returns the errors to raise for unknown names."""

    def __init__(self, reader: IndexReader, manifests: Manifests, repositories: Repositories) -> None:
        self._reader = reader
        self._manifests = manifests
        self._repositories = repositories

    def model(self, name: str) -> LayerzooError:
        """Return the error for a model: invalid, disabled, of an unusable or missing plugin, or misspelt."""
        if wrong := self._reader.diagnostics(model=name):
            return RegistryError(
                f"the declaration of {name} is not valid:", [diagnostic.marked() for diagnostic in wrong]
            )
        namespace = name.partition("/")[0]
        manifest = self._manifests.named(namespace)
        if manifest is not None and not manifest.is_usable:
            return _unusable(f"{name} is not available, because the plugin '{namespace}' cannot be used", manifest)
        if entry := self._reader.disabling(name):
            message = f"{name} is disabled by `disable: [{entry}]` in your own registry.yaml"
            return UnknownModelError(message, asked=name)
        if manifest is None and not self._reader.environment.has_plugins and namespace != USER_NAMESPACE:
            return UnknownModelError(f"{name} is not available, because {_LEFT_OUT}", asked=name)
        if manifest is None and namespace in self._reader.published():
            return self._not_installed(name, namespace)
        close = self.nearest(name)
        if self._repositories.named(name):
            message = (
                f"{name} may be a repository of the hub, and nothing is known of it yet. "
                f"{nearest_hint(close)}To find out, without its weights: zoo layers --trace {name}"
            )
            return UnidentifiedModelError(message, asked=name, nearest=close)
        return UnknownModelError(
            f"there is no model '{name}'. {nearest_hint(close)}All: zoo list", asked=name, nearest=close
        )

    def nearest(self, name: str) -> list[str]:
        """Return the ids and aliases that are most similar to a name."""
        return nearest_within_limit(name, lambda: self._comparable_names(name))

    def _not_installed(self, name: str, namespace: str) -> UnknownModelError:
        install = self._installation(namespace)
        ids = [model_id for model_id in self._published_ids() if model_id.startswith(f"{namespace}/")]
        # Published models have no aliases, so a name without a tag selects a model with a tag.
        model = next((model_id for model_id in ids if model_id == name or model_id.startswith(f"{name}.")), name)
        if entry := self._reader.ask(lambda: self._reader.selection(_PUBLISHED).entry(model)):
            message = f"{name} is not installed. It is a model for {entry.modality}: {entry.summary}\nNext: {install}"
            return NotInstalledError(message, asked=name, install=install)
        if not ids or (self._reader.published()[namespace].get("hub") and is_repository(name)):
            message = f"{name} is not available, because its plugin is not installed: {install}"
            return NotInstalledError(message, asked=name, install=install)
        close = nearest(name, ids)
        message = (
            f"there is no model '{name}' among those of the plugin '{namespace}', which is not installed. "
            f"{nearest_hint(close)}All: zoo list --plugin {namespace} --not-installed\nNext: {install}"
        )
        return UnknownModelError(message, asked=name, nearest=close)

    def plugin(self, name: str) -> NotFoundError:
        """Return the error for a plugin: not installed, or misspelt."""
        if not self._reader.environment.has_plugins:
            return NotFoundError(f"the plugin '{name}' is not available, because {_LEFT_OUT}", asked=name)
        if name in self._reader.published():
            return NotFoundError(f"the plugin '{name}' is not installed: {self._installation(name)}", asked=name)
        names = list(dict.fromkeys(plugin.namespace for plugin in self._reader.environment.installed))
        close = nearest(name, names)
        message = f"there is no plugin '{name}'. {nearest_hint(close)}Installed: {', '.join(names)}"
        return NotFoundError(message, asked=name, nearest=close)

    def value(self, noun: str, value: str, values: Sequence[str]) -> NotFoundError:
        """Return the error for a task, a license or the like that no model has.

        Args:
            noun: the kind of the value.
            value: as the caller wrote it.
            values: those of all models.
        """
        possible = sorted({value.lower() for value in values})
        close = nearest(value, possible)
        message = f"no model has the {noun} '{value[:100]}'. {nearest_hint(close)}All: {', '.join(possible)}"
        return NotFoundError(message, asked=value, nearest=close)

    def builder(self, name: str) -> PluginError:
        """Return the error for a builder: of a plugin that is not installed or cannot be used, or misspelt."""
        if not self._reader.environment.has_plugins:
            return PluginError(f"the builder '{name}' is not available, because {_LEFT_OUT}", plugin=name)
        for namespace, facts in self._reader.published().items():
            if name in facts.get("builders", ()):
                return self._builder_of(name, namespace)
        # The builders of an unusable plugin are unknown; most plugins have a builder of the same name.
        if (manifest := self._manifests.named(name)) and not manifest.is_usable:
            return _unusable(f"the builder '{name}' of the plugin '{name}' cannot be used", manifest)
        names = self._manifests.builders()
        message = f"there is no builder '{name}'. {nearest_hint(nearest(name, names))}Installed: {', '.join(names)}"
        return PluginError(message, plugin=name)

    def _builder_of(self, builder: str, namespace: str) -> PluginError:
        manifest = self._manifests.named(namespace)
        if manifest is None:
            message = f"nothing that is installed offers the builder '{builder}': {self._installation(namespace)}"
            return PluginError(message, plugin=namespace)
        message = f"the builder '{builder}' of the plugin '{namespace}' cannot be used"
        if manifest.is_usable:
            message = f"{message}: {manifest.release} does not offer it"
            return PluginError(f"{message}\nNext: {advice.upgrade(manifest.distribution)}", plugin=namespace)
        return _unusable(message, manifest)

    def _installation(self, namespace: str) -> str:
        return f"pip install {self._reader.published()[namespace]['package']}"

    def _published_ids(self) -> list[str]:
        return self._reader.ask(lambda: self._reader.selection(_PUBLISHED).ids())

    def _comparable_names(self, name: str) -> list[str]:
        names = self._reader.ids(COMPARED_NAMES + 1)
        if len(names) > COMPARED_NAMES:
            names = self._reader.similar_ids(name, COMPARED_NAMES)
        aliases = self._reader.aliases()
        names += self._published_ids()[:COMPARED_NAMES]
        return [*names, *(alias for alias, _ in aliases[:COMPARED_NAMES])]


def _unusable(message: str, manifest: PluginManifest) -> PluginError:
    return PluginError(f"{message}: {manifest.cause}\nNext: {manifest.fix}", plugin=manifest.namespace)
