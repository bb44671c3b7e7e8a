"""Manifests of plugins: the installed distribution combined with the content of its registry file."""

from __future__ import annotations

from layerzoo.registry.format.diagnostics import Diagnostic
from layerzoo.registry.index.reader import IndexReader
from layerzoo.registry.index.visibility import IndexedSource
from layerzoo.registry.installed import advice
from layerzoo.registry.installed.health import PluginManifest
from layerzoo.registry.installed.plugin import Installed, State


class Manifests:
    """Looks up installed plugins."""

    def __init__(self, reader: IndexReader) -> None:
        self._reader = reader

    def all(self) -> list[PluginManifest]:
        """Return all installed plugins, by namespace."""
        return sorted(map(self.of, self._reader.environment.installed), key=lambda manifest: manifest.namespace)

    def named(self, name: str) -> PluginManifest | None:
        """Return the plugin of a namespace or a distribution, usable ones first; None if there is none."""
        plugins = [plugin for plugin in self._reader.environment.installed if plugin.is_called(name)]
        return self.of(min(plugins, key=_precedence)) if plugins else None

    def offering(self, builder: str) -> list[PluginManifest]:
        """Return the plugins that offer a builder."""
        installed = self._reader.environment.installed
        return [
            self.of(plugin) for plugin in installed if any(builder in file.builders for file in self._files(plugin))
        ]

    def builders(self) -> list[str]:
        """Return all builders of installed plugins."""
        return sorted({builder for source in self._reader.sources for builder in source.builders})

    def catalogue(self, plugin: PluginManifest) -> str | None:
        """Return the path of the catalogue that a plugin's registry file names; None if it names none."""
        return self._head(plugin, "catalogue")

    def hub(self, plugin: PluginManifest) -> str | None:
        """Return the builder of a plugin for repositories of the hub; None if it has none."""
        return self._head(plugin, "hub")

    def frames(self, plugin: PluginManifest) -> str | None:
        """Return the builder of a plugin for image models over the frames of a video; None if it has none."""
        return self._head(plugin, "frames")

    def _head(self, plugin: PluginManifest, key: str) -> str | None:
        return next((source.head[key] for source in self._reader.sources if source.source.path == plugin.path), None)

    def of(self, installed: Installed) -> PluginManifest:
        """Return the manifest of one entry point."""
        files = self._files(installed)
        state, cause, fix = self._condition(installed, files)
        return PluginManifest(
            namespace=installed.namespace,
            distribution=installed.distribution,
            version=installed.version,
            module=installed.module,
            path=installed.path,
            project=installed.project,
            state=state,
            cause=cause,
            fix=fix,
            models=sum(map(self._count, files)),
            builders=tuple(builder for file in files for builder in file.builders),
        )

    def _condition(self, installed: Installed, files: list[IndexedSource]) -> tuple[State, str | None, str | None]:
        """Return state, cause and fix."""
        if installed.state != "ok":
            return installed.state, installed.cause, installed.fix
        distribution, path, project = installed.distribution, installed.path, installed.project
        if not files:
            return "no registry file", f"there is no {path}", advice.ship_file(distribution, path if project else None)
        state: State = files[0].head["state"]
        if state == "unsupported":
            # The advice of the diagnostic is to upgrade layerzoo, but the plugin may be the older one.
            cause = files[0].head["cause"].partition(". Next: ")[0]
            return state, cause, advice.match_versions(distribution, path if project else None)
        if state != "ok":
            return state, files[0].head["cause"], advice.correct_file(distribution, path, is_own=project is not None)
        if wrong := [str(diagnostic) for file in files for diagnostic in self._diagnostics(file)]:
            cause = wrong[0] if len(wrong) == 1 else f"{wrong[0]} (and {len(wrong) - 1} more)"
            return "incomplete", cause, advice.correct_file(distribution, path, is_own=project is not None)
        return "ok", None, None

    def _files(self, installed: Installed) -> list[IndexedSource]:
        """Return the plugin's registry file, then its catalogue."""
        owner = (installed.namespace, installed.distribution)
        return [
            source for source in self._reader.sources if (source.source.namespace, source.source.distribution) == owner
        ]

    def _count(self, file: IndexedSource) -> int:
        return self._reader.count(file.id)

    def _diagnostics(self, file: IndexedSource) -> list[Diagnostic]:
        return self._reader.diagnostics(source=file.id)


def _precedence(installed: Installed) -> int:
    """Return the rank among plugins of one name: usable first, disabled last."""
    return {"ok": 0, "disabled": 2}.get(installed.state, 1)
