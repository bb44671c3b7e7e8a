"""Find the installed plugins by their entry points, in metadata, without importing them."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from layerzoo.registry.format.source import is_namespace
from layerzoo.registry.installed import advice
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
    found = [plugin for distribution in _distributions() for plugin in _plugins_of(distribution)]
    return sorted(found, key=lambda plugin: (plugin.namespace, plugin.distribution))


# ---------------------------------------------------------------- distributions


@dataclass(frozen=True, slots=True)
class _Release:
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

    seen: set[str] = set()
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
                    seen.add(canonical(name))
                    continue
                release = _release(distribution)
                if release is not None and canonical(release.name) not in seen:
                    seen.add(canonical(release.name))
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
        cause = f"the entry point must name a top-level package, and '{entry_point.value}' is none"
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
        found = find_spec(module)
    except Exception:  # noqa: BLE001 - finders of other installed tools run here, and may raise anything
        return None
    folders = list(found.submodule_search_locations or ()) if found else []
    with_file = [folder for folder in folders if (Path(folder) / FILE_NAME).is_file()]
    return next(iter(with_file + folders), None)
