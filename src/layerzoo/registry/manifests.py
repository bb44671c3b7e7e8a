"""Manifests of plugins, put together from what is installed and what the index knows of their files."""

from __future__ import annotations

from layerzoo.registry.diagnostics import Diagnostic
from layerzoo.registry.discovery import Installed
from layerzoo.registry.index import IndexedSource
from layerzoo.registry.manifest import PluginManifest
from layerzoo.registry.stock import Stock


class Manifests:
    """The plugins that are installed, and those that are published."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    def all(self) -> list[PluginManifest]:
        """Every installed plugin, by namespace."""
        return sorted(map(self.of, self._stock.surroundings.installed), key=lambda manifest: manifest.namespace)

    def named(self, name: str) -> PluginManifest | None:
        """The plugin of a namespace or a distribution."""
        installed = self._stock.surroundings.installed
        return next((self.of(each) for each in installed if name in (each.namespace, each.distribution)), None)

    def offering(self, builder: str) -> list[PluginManifest]:
        """The plugins that offer a builder."""
        installed = self._stock.surroundings.installed
        return [self.of(each) for each in installed if any(builder in file.builders for file in self._files(each))]

    def builders(self) -> list[str]:
        """Every builder that is offered."""
        return sorted({builder for each in self._stock.sources for builder in each.builders})

    def of(self, installed: Installed) -> PluginManifest:
        """The manifest of one entry point."""
        state, cause, models = installed.state, installed.cause, 0
        files = self._files(installed)
        if files:
            state, cause = files[0].head["state"], files[0].head["cause"]
            models = sum(map(self._count, files))
            wrong = [str(diagnostic) for file in files for diagnostic in self._diagnostics(file)]
            if state == "ok" and wrong:
                state, cause = "incomplete", wrong[0] if len(wrong) == 1 else f"{wrong[0]} (and {len(wrong) - 1} more)"
        elif state == "ok":
            state, cause = "no registry file", f"there is no {installed.path}"
        return PluginManifest(
            namespace=installed.namespace,
            distribution=installed.distribution,
            version=installed.version,
            module=installed.module,
            path=installed.path,
            state=state,
            cause=cause,
            models=models,
            builders=tuple(builder for file in files for builder in file.builders),
        )

    def _files(self, installed: Installed) -> list[IndexedSource]:
        """The plugin's own file, then its catalogue."""
        owner = (installed.namespace, installed.distribution)
        return [each for each in self._stock.sources if (each.source.namespace, each.source.distribution) == owner]

    def _count(self, file: IndexedSource) -> int:
        return self._stock.ask(lambda shelf: shelf.count(file.id))

    def _diagnostics(self, file: IndexedSource) -> list[Diagnostic]:
        return self._stock.ask(lambda shelf: shelf.diagnostics(source=file.id))
