"""What is not there: why, and what to do about it. One function a kind of name, each returns the error to raise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerzoo.errors import LayerzooError, NotFoundError, PluginError, RegistryError, UnknownModelError, nearest
from layerzoo.registry.manifests import Manifests
from layerzoo.registry.shelf import Shelf, covers
from layerzoo.registry.stock import Stock

# difflib takes 20 µs a name; beyond this many, only names that share the beginning of a word are compared.
_COMPARED_NAMES = 2_000


class Unknown:
    """Errors about names that nothing answers to."""

    def __init__(self, stock: Stock, manifests: Manifests) -> None:
        self._stock = stock
        self._manifests = manifests

    def model(self, asked: str) -> LayerzooError:
        """Declared but not valid, of a plugin that cannot be used or is not installed, switched off, or misspelt."""
        if wrong := self._stock.ask(lambda shelf: shelf.diagnostics(model=asked)):
            return RegistryError(f"the declaration of {asked} is not valid:", [str(each) for each in wrong])
        namespace = asked.partition("/")[0]
        manifest = self._manifests.named(namespace)
        if manifest is not None and not manifest.is_usable:
            message = f"{asked} is not there, because the plugin '{namespace}' cannot be used: {manifest.cause}"
            return PluginError(f"{message}\nNext: zoo plugin check {namespace}", plugin=namespace)
        if entry := next((entry for entry in self._stock.ask(Shelf.disabled) if covers(entry, asked)), None):
            message = f"{asked} is switched off by `disable: [{entry}]` in your own registry.yaml"
            return UnknownModelError(message, asked=asked)
        if manifest is None and namespace in self.published():
            message = f"{asked} is not there, because its plugin is not installed: {self._installation(namespace)}"
            return UnknownModelError(message, asked=asked)
        close = nearest(asked, self._comparable_names(asked))
        return UnknownModelError(
            f"there is no model '{asked}'. {_hint(close)}All: zoo list", asked=asked, nearest=close
        )

    def plugin(self, asked: str) -> NotFoundError:
        """Published but not installed, or misspelt."""
        if asked in self.published():
            return NotFoundError(f"the plugin '{asked}' is not installed: {self._installation(asked)}", asked=asked)
        names = [each.namespace for each in self._stock.surroundings.installed]
        close = nearest(asked, names)
        message = f"there is no plugin '{asked}'. {_hint(close)}Installed: {', '.join(names)}"
        return NotFoundError(message, asked=asked, nearest=close)

    def builder(self, asked: str) -> PluginError:
        """Of a plugin that is not installed or cannot be used, or misspelt."""
        for namespace, facts in self.published().items():
            if asked in facts.get("builders", ()):
                return self._builder_of(asked, namespace)
        names = self._manifests.builders()
        message = f"there is no builder '{asked}'. {_hint(nearest(asked, names))}Installed: {', '.join(names)}"
        return PluginError(message, plugin=asked)

    def published(self) -> dict[str, dict[str, Any]]:
        """``package``, ``summary`` and ``builders`` of the plugins that can be installed, by namespace."""
        return {name: facts for each in self._stock.sources for name, facts in each.head["published"].items()}

    def _builder_of(self, builder: str, namespace: str) -> PluginError:
        manifest = self._manifests.named(namespace)
        if manifest is None:
            message = f"nothing that is installed offers the builder '{builder}': {self._installation(namespace)}"
            return PluginError(message, plugin=namespace)
        cause = manifest.cause or f"{manifest.distribution} {manifest.version} does not offer it"
        message = f"the builder '{builder}' of the plugin '{namespace}' cannot be used: {cause}"
        return PluginError(f"{message}\nNext: zoo plugin check {namespace}", plugin=namespace)

    def _installation(self, namespace: str) -> str:
        return f"pip install {self.published()[namespace]['package']}"

    def _comparable_names(self, asked: str) -> list[str]:
        names = self._stock.ask(lambda shelf: shelf.ids(_COMPARED_NAMES + 1))
        if len(names) > _COMPARED_NAMES:
            names = self._stock.ask(lambda shelf: shelf.similar_ids(asked, _COMPARED_NAMES))
        aliases = self._stock.ask(Shelf.aliases)
        return [*names, *(alias for alias, _ in aliases[:_COMPARED_NAMES])]


def _hint(close: Sequence[str]) -> str:
    return f"Nearest: {', '.join(close)}. " if close else ""
