"""Manifests of plugins, put together from what is installed and what the index knows of their files."""

from __future__ import annotations

from layerzoo.registry.format.diagnostics import Diagnostic
from layerzoo.registry.index.reader import IndexReader
from layerzoo.registry.index.visibility import IndexedSource
from layerzoo.registry.installed import advice
from layerzoo.registry.installed.plugin import Installed, PluginManifest, State


class Manifests:
    """The plugins that are installed, and those that are published."""

    def __init__(self, reader: IndexReader) -> None:
        self._reader = reader

    def all(self) -> list[PluginManifest]:
        """Every installed plugin, by namespace."""
        return sorted(map(self.of, self._reader.environment.installed), key=lambda manifest: manifest.namespace)

    def named(self, name: str) -> PluginManifest | None:
        """The plugin of a namespace or a distribution; where several are called so, the one that counts."""
        called = [each for each in self._reader.environment.installed if each.is_called(name)]
        return self.of(min(called, key=_precedence)) if called else None

    def offering(self, builder: str) -> list[PluginManifest]:
        """The plugins that offer a builder."""
        installed = self._reader.environment.installed
        return [self.of(each) for each in installed if any(builder in file.builders for file in self._files(each))]

    def builders(self) -> list[str]:
        """Every builder that is offered."""
        return sorted({builder for each in self._reader.sources for builder in each.builders})

    def catalogue(self, plugin: PluginManifest) -> str | None:
        """The path of the catalogue that a plugin's own file names."""
        return next((each.head["catalogue"] for each in self._reader.sources if each.source.path == plugin.path), None)

    def hub(self, plugin: PluginManifest) -> str | None:
        """The builder that a plugin's own file gives for every repository of the hub; None where it gives none."""
        return next((each.head["hub"] for each in self._reader.sources if each.source.path == plugin.path), None)

    def of(self, installed: Installed) -> PluginManifest:
        """The manifest of one entry point."""
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
        """State, cause and fix."""
        if installed.state != "ok":
            return installed.state, installed.cause, installed.fix
        distribution, path, project = installed.distribution, installed.path, installed.project
        if not files:
            return "no registry file", f"there is no {path}", advice.ship_file(distribution, path if project else None)
        state: State = files[0].head["state"]
        if state == "unsupported":
            # What the diagnostic advises is about layerzoo alone; the plugin may be what is too old.
            cause = files[0].head["cause"].partition(". Next: ")[0]
            return state, cause, advice.match_versions(distribution, path if project else None)
        if state != "ok":
            return state, files[0].head["cause"], advice.correct_file(distribution, path, is_own=project is not None)
        if wrong := [str(diagnostic) for file in files for diagnostic in self._diagnostics(file)]:
            cause = wrong[0] if len(wrong) == 1 else f"{wrong[0]} (and {len(wrong) - 1} more)"
            return "incomplete", cause, advice.correct_file(distribution, path, is_own=project is not None)
        return "ok", None, None

    def _files(self, installed: Installed) -> list[IndexedSource]:
        """The plugin's own file, then its catalogue."""
        owner = (installed.namespace, installed.distribution)
        return [each for each in self._reader.sources if (each.source.namespace, each.source.distribution) == owner]

    def _count(self, file: IndexedSource) -> int:
        return self._reader.count(file.id)

    def _diagnostics(self, file: IndexedSource) -> list[Diagnostic]:
        return self._reader.diagnostics(source=file.id)


def _precedence(installed: Installed) -> int:
    """Of several that are called so, what can be used comes first, and what is disabled last."""
    return {"ok": 0, "disabled": 2}.get(installed.state, 1)
