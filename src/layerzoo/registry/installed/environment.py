"""Discover the environment: layerzoo itself, the installed plugins by their entry points, and the user's files.

Entry points are read from metadata. No plugin is imported.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from layerzoo.environment import environment
from layerzoo.local_files import local_folder
from layerzoo.paths import user_folder
from layerzoo.registry.format.source import RACY, RegistrySource, fingerprint, is_namespace
from layerzoo.registry.installed import advice
from layerzoo.registry.installed.disabled import Disabled, read_disabled
from layerzoo.registry.installed.plugin import (
    CORE_DISTRIBUTION,
    CORE_MODULE,
    CORE_NAMESPACE,
    FILE_NAME,
    GROUP,
    PACKAGE,
    USER_NAMESPACE,
    Installed,
    State,
    canonical,
)

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

    from layerzoo.registry.format.diagnostics import Diagnostic

NO_PLUGINS = "LAYERZOO_NO_PLUGINS"
"""The environment variable that makes layerzoo ignore all plugins."""
# Increase this number if the result of the scan or its form changes, so that old results are ignored.
_SCAN_FORMAT = 3


PUBLISHED = str(PACKAGE / "published.jsonl")


class Environment(NamedTuple):
    """The plugins and files that the registry consists of: layerzoo itself, plugins, and the user's files."""

    installed: tuple[Installed, ...]
    user_files: tuple[str, ...]
    disabled: Disabled = Disabled()
    has_plugins: bool = True
    """False if all plugins are ignored."""
    published: str = PUBLISHED
    """The path of the list of models that can be installed."""
    local_file: str | None = None
    """The one of ``user_files`` in the working directory."""

    @property
    def version(self) -> str | None:
        """The version of layerzoo; None if it was never installed."""
        return self.installed[0].version if self.installed else None

    @property
    def plugins(self) -> tuple[Installed, ...]:
        """All plugins, without layerzoo itself."""
        return self.installed[1:]

    def sources(self) -> list[RegistrySource]:
        """Return the files that declare models, the nearest first: where two declare the same, the nearer one counts.

        The user's own files come first, then layerzoo's, those of plugins, and the list of what can be installed.
        """
        itself, *plugins = self.installed
        files = [RegistrySource(path, "user", USER_NAMESPACE) for path in self.user_files]
        for plugin in [itself, *plugins]:
            if plugin.path is not None and plugin.state == "ok":
                role: Literal["core", "plugin"] = "core" if plugin is itself else "plugin"
                files.append(RegistrySource(plugin.path, role, plugin.namespace, plugin.distribution))
        files.append(RegistrySource(self.published, "published", ""))
        return files

    def problems(self) -> list[Diagnostic]:
        """Return the problems of the list of disabled plugins."""
        unused = self.disabled.unused(self.plugins) if self.has_plugins else ()
        return [*self.disabled.problems, *unused]


class ScanStore(Protocol):
    """Stores the result of a scan of ``sys.path``. Both methods raise sqlite3.DatabaseError."""

    def scan(self, paths: str, times: str) -> Any:
        """Return the result that was stored for these folders at these times of change; otherwise None."""

    def keep_scan(self, paths: str, times: str, result: Any) -> None:
        """Store a result, which must be representable as JSON."""


def discover(results: ScanStore) -> Environment:
    """Discover the plugins on ``sys.path`` and the user's files.

    Args:
        results: stores the result of the scan of ``sys.path``.
    """
    has_plugins, disabled = _has_plugins(), read_disabled()
    installed = _with_states(_stored_scan(results), disabled) if has_plugins else (core(),)
    # Not Path.resolve, which raises RuntimeError for a link that leads to itself.
    installed_files = {os.path.realpath(plugin.path) for plugin in installed if plugin.path}
    files = tuple(file for file in _user_files() if os.path.realpath(file) not in installed_files)
    local = next((file for file in files if file == local_registry()), None)
    return Environment(installed, files, disabled, has_plugins, local_file=local)


@contextlib.contextmanager
def without_plugins() -> Iterator[None]:
    """Ignore all plugins within the context, in this process and its children."""
    with environment(NO_PLUGINS, "1"):
        yield


def _has_plugins() -> bool:
    return os.environ.get(NO_PLUGINS, "") in ("", "0")


def _stored_scan(results: ScanStore) -> list[Installed]:
    """Return layerzoo itself, then all plugins; from the store if no folder on ``sys.path`` has changed."""
    records = remembered(results, _SCAN_FORMAT, lambda: [plugin._asdict() for plugin in (core(), *scan())])
    return [Installed(**record) for record in records]


def remembered(results: ScanStore, key: int | str, find: Callable[[], Any]) -> Any:
    """Return a stored result about the folders of ``sys.path``; compute and store it if one of them has changed.

    Args:
        results: the store.
        key: identifies the result and its format.
        find: computes the result, a JSON value.
    """
    folders = [_absolute(folder) for folder in sys.path if isinstance(folder, str)]
    states = [fingerprint(folder) for folder in folders]
    paths, times = json.dumps([key, *folders, str(PACKAGE)]), json.dumps(states)
    with contextlib.suppress(sqlite3.DatabaseError):
        if RACY not in states and (stored := results.scan(paths, times)) is not None:
            return stored
    result = find()
    with contextlib.suppress(sqlite3.DatabaseError):
        results.keep_scan(paths, times, result)
    return result


def _absolute(folder: str) -> str:
    try:
        return os.path.abspath(folder)  # noqa: PTH100 - '' is the working directory
    except OSError:  # the working directory may have been removed
        return folder


def _user_files() -> Iterator[str]:
    """Yield the paths of the user's files, the nearest first."""
    if local := local_registry():
        yield local
    yield str(user_folder() / FILE_NAME)


def local_registry() -> str | None:
    """Return the path of the registry.yaml of the working directory, which need not exist; None if it is ignored."""
    folder = local_folder()
    # In a checkout of layerzoo it is the core's own file.
    return None if folder is None or (folder / "src" / "layerzoo" / "registry").is_dir() else str(folder / FILE_NAME)


# ---------------------------------------------------------------- which of the plugins count


def _with_states(installed: Sequence[Installed], disabled: Disabled) -> tuple[Installed, ...]:
    """Set the state of plugins that the user has disabled or that claim the same namespace."""
    itself, *plugins = installed
    enabled = [plugin for plugin in plugins if not disabled.covers(plugin)]
    return (
        itself,
        *(_undisputed(plugin, enabled) if plugin in enabled else _disabled(plugin, plugins) for plugin in plugins),
    )


def _disabled(plugin: Installed, plugins: Sequence[Installed]) -> Installed:
    is_alone = [claimant.namespace for claimant in plugins].count(plugin.namespace) == 1
    name = plugin.namespace if is_alone else plugin.distribution
    return plugin._replace(state="disabled", cause="you have disabled it", fix=advice.enable(name))


def _undisputed(plugin: Installed, plugins: Sequence[Installed]) -> Installed:
    """Set the state of a plugin whose namespace another one claims too. Neither of the two is used."""
    claims = [claimant for claimant in plugins if claimant.namespace == plugin.namespace and claimant.state == "ok"]
    if plugin.state != "ok" or len(claims) == 1:
        return plugin
    cause = f"the namespace is claimed by {' and '.join(claim.release for claim in claims)}"
    return plugin._replace(
        state="conflict", cause=cause, fix=advice.choose_one([claimant.distribution for claimant in claims])
    )


# ---------------------------------------------------------------- entry points


def core() -> Installed:
    """Return layerzoo itself. Only Python's own finder is used, so that no other installed tool can hide it."""
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    version: str | None = None
    with contextlib.suppress(Exception):  # it was never installed, or some metadata is damaged
        version = next(iter(MetadataPathFinder.find_distributions(DistributionFinder.Context(name=GROUP)))).version
    # In a wheel the file is in the package; in a checkout it is at the root, above src/.
    folder = PACKAGE if (PACKAGE / FILE_NAME).is_file() else PACKAGE.parents[1]
    return Installed(
        namespace=CORE_NAMESPACE,
        distribution=CORE_DISTRIBUTION,
        version=version,
        module=CORE_MODULE,
        folder=str(folder),
    )


def scan() -> list[Installed]:
    """Return all entry points of the group, by namespace. Reads metadata, and runs no plugin's code."""
    with contextlib.suppress(Exception):  # finders of other tools run here
        importlib.invalidate_caches()  # a program that runs for days finds a plugin that was just installed
    plugins = [plugin for distribution in _distributions() for plugin in _plugins_of(distribution)]
    return sorted(plugins, key=lambda plugin: (plugin.namespace, plugin.distribution))


# ---------------------------------------------------------------- distributions


class _Release(NamedTuple):
    """An installed distribution, and the error in its metadata if it is damaged."""

    metadata: Distribution
    name: str
    version: str | None
    damage: str | None = None

    @property
    def project(self) -> str | None:
        """The folder that it was installed from, editable or not; None for a package from an index or a server.

        Source: PyPA, "Recording the Direct URL Origin of installed distributions" (direct_url.json).
        """
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        with contextlib.suppress(Exception):  # damaged metadata may raise anything
            if text := self.metadata.read_text("direct_url.json"):
                origin = json.loads(text)
                if "dir_info" in origin and origin["url"].startswith("file:"):
                    return url2pathname(urlsplit(origin["url"]).path)
            folder = Path(str(getattr(self.metadata, "_path", "")))
            if folder.suffix == ".egg-info" and (folder.parent / "setup.py").is_file():  # python setup.py develop
                return str(folder.parent)
        return None

    @property
    def entry_points(self) -> list[EntryPoint]:
        """Its entry points of the group. Raises: any error that damaged metadata may cause."""
        return list(self.metadata.entry_points.select(group=GROUP))


def _distributions() -> Iterator[_Release]:
    """Yield every installed distribution that may have plugins, once.

    The first one on ``sys.path`` hides others of the same name, as for imports. The METADATA of distributions without
    plugins is not parsed: with 125 distributions that is 90 % of the time of a scan.
    """
    from importlib.metadata import DistributionFinder

    names: set[str] = set()
    for finder in sys.meta_path:
        find = getattr(finder, "find_distributions", None)
        if find is None:
            continue
        with contextlib.suppress(
            Exception
        ):  # if the finder of another tool fails, only its own distributions are missing
            for distribution in find(DistributionFinder.Context()):
                name, _ = _folder_name(distribution)
                if name and not _may_have_plugins(distribution):
                    names.add(canonical(name))
                    continue
                release = _release(distribution)
                if release is not None and canonical(release.name) not in names:
                    names.add(canonical(release.name))
                    yield release


def _folder_name(distribution: Distribution) -> tuple[str, str]:
    """Return the name and the version in the name of a distribution's folder, such as acme_zoo-1.0.dist-info."""
    folder = Path(str(getattr(distribution, "_path", ""))).name  # there is no public attribute
    name, _, version = folder.removesuffix(".dist-info").removesuffix(".egg-info").partition("-")
    return name, version


def _may_have_plugins(distribution: Distribution) -> bool:
    """Return whether the entry points of a distribution name the group, or cannot be read."""
    try:
        return f"[{GROUP}]" in (distribution.read_text("entry_points.txt") or "")
    except Exception:  # noqa: BLE001 - damage is described later
        return True


def _release(distribution: Distribution) -> _Release | None:
    """Return the release of a distribution; None if it has no name at all."""
    try:
        if distribution.name:
            return _Release(distribution, distribution.name, distribution.version)
        damage = "its METADATA names no distribution"
    except Exception as error:  # noqa: BLE001 - each version of Python fails in its own ways at broken metadata
        damage = "its METADATA is missing or damaged"
        if isinstance(error, UnicodeDecodeError):
            damage = "its METADATA is not UTF-8 text"
    name, version = _folder_name(distribution)
    return _Release(distribution, canonical(name), version or None, damage) if name else None


# ---------------------------------------------------------------- their entry points


def _plugins_of(release: _Release) -> list[Installed]:
    try:
        return [_plugin(release, entry_point) for entry_point in release.entry_points]
    except UnicodeDecodeError as error:
        is_plugin, damage = f"[{GROUP}]".encode() in error.object, "its entry_points.txt is not UTF-8 text"
    except Exception:  # noqa: BLE001 - as above
        is_plugin, damage = True, "its entry_points.txt is damaged: a line is `namespace = module`"
    return [_unusable(release, release.name, release.name, damage)] if is_plugin else []


def _unusable(release: _Release, namespace: str, module: str, cause: str) -> Installed:
    return Installed(
        namespace=namespace,
        distribution=release.name,
        version=release.version,
        module=module,
        state="invalid",
        cause=cause,
        fix=advice.reinstall(release.name),
    )


def _plugin(release: _Release, entry_point: EntryPoint) -> Installed:
    if release.damage is not None:
        return _unusable(release, entry_point.name, entry_point.value, release.damage)

    def plugin(
        state: State = "ok", cause: str | None = None, fix: str | None = None, folder: str | None = None
    ) -> Installed:
        return Installed(
            namespace=entry_point.name,
            distribution=release.name,
            version=release.version,
            module=entry_point.value,
            folder=folder,
            project=project,
            state=state,
            cause=cause,
            fix=fix,
        )

    project = release.project
    upgrade = advice.correct_entry_point(release.name, project)
    if not is_namespace(entry_point.name):
        return plugin(
            "invalid", f"'{entry_point.name}' is not a valid namespace: lower-case letters, digits, - and _", upgrade
        )
    if entry_point.name in (CORE_NAMESPACE, USER_NAMESPACE):
        owner = "layerzoo itself" if entry_point.name == CORE_NAMESPACE else "the user's own models"
        cause = f"the namespace '{entry_point.name}' is that of {owner}"
        return plugin("conflict", cause, advice.take_out(release.name))
    if not entry_point.value.isidentifier():
        # Finding a module inside a package imports the package.
        cause = f"the entry point must name a top-level package, and '{entry_point.value}' is not one"
        return plugin("invalid", cause, upgrade)
    folder = _folder(entry_point.value)
    if folder is None:
        cause = f"its entry point names '{entry_point.value}', but there is no such package"
        fix = advice.correct_entry_point(release.name, project) if project else advice.reinstall(release.name)
        return plugin("not found", cause, fix)
    return plugin(folder=folder)


def _folder(module: str) -> str | None:
    """Return the folder of a top-level package; of a namespace package, the folder with a registry file."""
    from importlib.util import find_spec

    try:
        spec = find_spec(module)
    except Exception:  # noqa: BLE001 - finders of other installed tools run here, and may raise anything
        return None
    folders = list(spec.submodule_search_locations or ()) if spec else []
    with_file = [folder for folder in folders if (Path(folder) / FILE_NAME).is_file()]
    return next(iter(with_file + folders), None)
