"""Which plugins are installed and which files declare models, found without importing any of them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerzoo.registry.index import Index
from layerzoo.registry.manifest import State
from layerzoo.registry.source import UNSETTLED, fingerprint, is_namespace

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

GROUP = "layerzoo"
CORE_NAMESPACE, CORE_MODULE = "toy", "layerzoo.testing.toy"
USER_NAMESPACE = "mine"
FILE_NAME = "registry.yaml"

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One entry point of the group ``layerzoo``, and the folder of the package it names."""

    namespace: str
    distribution: str
    version: str | None
    module: str
    folder: str | None = None
    state: State = "ok"
    cause: str | None = None

    @property
    def path(self) -> str | None:
        """Where its registry.yaml is, or should be."""
        return None if self.folder is None else os.path.join(self.folder, FILE_NAME)  # noqa: PTH118 - hot


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything that the zoo consists of here and now: the core itself first, then plugins, then the user's files."""

    installed: tuple[Installed, ...]
    user_files: tuple[str, ...]

    @property
    def version(self) -> str | None:
        """layerzoo's own version; None when it runs from a folder that was never installed."""
        return self.installed[0].version if self.installed else None


def look_around(index: Index) -> Surroundings:
    """What is installed on ``sys.path``, and the user's files. The scan of the former is kept in the index."""
    installed = tuple(Installed(**each) for each in _kept_scan(index))
    files = _user_files()
    known = {str(Path(each.path).resolve()) for each in installed if each.path}
    return Surroundings(installed, tuple(file for file in files if str(Path(file).resolve()) not in known))


def _kept_scan(index: Index) -> list[dict[str, Any]]:
    folders = [os.path.abspath(folder) for folder in sys.path if isinstance(folder, str)]  # noqa: PTH100 - '' is the cwd
    states = [fingerprint(folder) for folder in folders]
    paths, times = json.dumps([*folders, str(_PACKAGE)]), json.dumps(states)
    with contextlib.suppress(sqlite3.DatabaseError):
        if UNSETTLED not in states and (found := index.scan(paths, times)) is not None:
            return list(found)
    found = [asdict(each) for each in scan()]
    with contextlib.suppress(sqlite3.DatabaseError):
        index.keep_scan(paths, times, found)
    return found


def _user_files() -> Iterator[str]:
    """The user's own files, the nearest first."""
    import platformdirs

    with contextlib.suppress(OSError):  # the working directory may have been removed
        here = Path.cwd()
        if not (here / "src" / "layerzoo" / "registry").is_dir():  # in a checkout of layerzoo it is the core's file
            yield str(here / FILE_NAME)
    yield str(platformdirs.user_config_path("layerzoo") / FILE_NAME)


# ---------------------------------------------------------------- the scan


def scan() -> list[Installed]:
    """The core, then every installed plugin by namespace. Reads metadata, and runs no plugin's code."""
    version: str | None = None
    found: dict[str, list[Installed]] = {}
    for distribution in _distributions():
        if distribution.name.lower() == "layerzoo":
            version = distribution.version
        for entry_point in _entry_points(distribution):
            plugin = _installed(distribution, entry_point)
            found.setdefault(plugin.namespace, []).append(plugin)
    plugins = [_undisputed(claims) for _, claims in sorted(found.items())]
    return [_core(version), *plugins]


def _core(version: str | None) -> Installed:
    # In a wheel the file lies in the package; in a checkout at the root, above src/.
    shipped = (_PACKAGE / FILE_NAME).is_file()
    folder = _PACKAGE if shipped else _PACKAGE.parents[1]
    return Installed(
        namespace=CORE_NAMESPACE, distribution="layerzoo", version=version, module=CORE_MODULE, folder=str(folder)
    )


def _distributions() -> Iterator[Distribution]:
    """Every installed distribution once: the first on ``sys.path`` hides others of its name, as it does for imports."""
    import importlib.metadata

    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        with contextlib.suppress(Exception):  # broken metadata of whatever else is installed is not our concern
            name = re.sub(r"[-_.]+", "-", distribution.name).lower()
            if name not in seen:
                seen.add(name)
                yield distribution


def _entry_points(distribution: Distribution) -> list[EntryPoint]:
    with contextlib.suppress(Exception):  # as above
        text = distribution.read_text("entry_points.txt")
        if text and f"[{GROUP}]" in text:
            return list(distribution.entry_points.select(group=GROUP))
    return []


def _installed(distribution: Distribution, entry_point: EntryPoint) -> Installed:
    def plugin(state: State = "ok", cause: str | None = None, folder: str | None = None) -> Installed:
        return Installed(
            namespace=entry_point.name,
            distribution=distribution.name,
            version=distribution.version,
            module=entry_point.value,
            folder=folder,
            state=state,
            cause=cause,
        )

    if not is_namespace(entry_point.name):
        return plugin("invalid", f"'{entry_point.name}' is no namespace: small letters, digits, - and _")
    if entry_point.name in (CORE_NAMESPACE, USER_NAMESPACE):
        owner = "layerzoo itself" if entry_point.name == CORE_NAMESPACE else "the user's own models"
        return plugin("conflict", f"the namespace '{entry_point.name}' is that of {owner}")
    if not entry_point.value.isidentifier():
        # Finding a module inside a package imports the package.
        return plugin("invalid", f"the entry point must name a top-level module, and '{entry_point.value}' is none")
    folder = _folder(entry_point.value)
    if folder is None:
        return plugin("not found", f"there is no package '{entry_point.value}'")
    return plugin(folder=folder)


def _folder(module: str) -> str | None:
    """The folder of a top-level package; of a namespace package, the one with a registry file."""
    try:
        found = importlib.util.find_spec(module)
    except Exception:  # noqa: BLE001 - finders of other installed tools run here, and may raise anything
        return None
    folders = list(found.submodule_search_locations or ()) if found else []
    with_file = [folder for folder in folders if (Path(folder) / FILE_NAME).is_file()]
    return next(iter(with_file + folders), None)


def _undisputed(claims: list[Installed]) -> Installed:
    """The plugin of a namespace. Two that claim the same one are both out: neither may speak for the other's models."""
    if len(claims) == 1:
        return claims[0]
    owners = sorted(f"{claim.distribution} {claim.version}" for claim in claims)
    cause = f"the namespace is claimed by {' and '.join(owners)}: uninstall all but one"
    first = claims[0]
    return Installed(
        namespace=first.namespace,
        distribution=" + ".join(sorted(claim.distribution for claim in claims)),
        version=None,
        module=first.module,
        state="conflict",
        cause=cause,
    )
