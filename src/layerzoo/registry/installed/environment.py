"""Discover the environment: layerzoo itself, the installed plugins, and the user's files."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from layerzoo.environment import environment
from layerzoo.local_files import local_folder
from layerzoo.paths import user_folder
from layerzoo.registry.format.source import RACY, RegistrySource, fingerprint
from layerzoo.registry.installed import advice
from layerzoo.registry.installed.disabled import Disabled, read_disabled
from layerzoo.registry.installed.entry_points import core, scan
from layerzoo.registry.installed.plugin import FILE_NAME, PACKAGE, USER_NAMESPACE, Installed

if TYPE_CHECKING:
    from layerzoo.registry.format.diagnostics import Diagnostic

NO_PLUGINS = "LAYERZOO_NO_PLUGINS"
"""The environment variable that makes layerzoo ignore all plugins."""
# Increase this number if the result of the scan or its form changes, so that old results are ignored.
_SCAN_FORMAT = 3


PUBLISHED = str(PACKAGE / "published.jsonl")


@dataclass(frozen=True, slots=True)
class Environment:
    """The plugins and files that the registry consists of: layerzoo itself, plugins, and the user's files."""

    installed: tuple[Installed, ...]
    user_files: tuple[str, ...]
    disabled: Disabled = field(default_factory=Disabled)
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
        for each in [itself, *plugins]:
            if each.path is not None and each.state == "ok":
                role: Literal["core", "plugin"] = "core" if each is itself else "plugin"
                files.append(RegistrySource(each.path, role, each.namespace, each.distribution))
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

    def keep_scan(self, paths: str, times: str, found: Any) -> None:
        """Store a result, which must be representable as JSON."""


def discover(results: ScanStore) -> Environment:
    """Discover the plugins on ``sys.path`` and the user's files.

    Args:
        results: stores the result of the scan of ``sys.path``.
    """
    has_plugins, disabled = _has_plugins(), read_disabled()
    installed = _with_states(_stored_scan(results), disabled) if has_plugins else (core(),)
    # Not Path.resolve, which raises RuntimeError for a link that leads to itself.
    known = {os.path.realpath(each.path) for each in installed if each.path}
    files = tuple(file for file in _user_files() if os.path.realpath(file) not in known)
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
    kept = remembered(results, _SCAN_FORMAT, lambda: [asdict(each) for each in (core(), *scan())])
    return [Installed(**each) for each in kept]


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
        if RACY not in states and (kept := results.scan(paths, times)) is not None:
            return kept
    found = find()
    with contextlib.suppress(sqlite3.DatabaseError):
        results.keep_scan(paths, times, found)
    return found


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
    here = local_folder()
    # In a checkout of layerzoo it is the core's own file.
    return None if here is None or (here / "src" / "layerzoo" / "registry").is_dir() else str(here / FILE_NAME)


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
    is_alone = [each.namespace for each in plugins].count(plugin.namespace) == 1
    name = plugin.namespace if is_alone else plugin.distribution
    return replace(plugin, state="disabled", cause="you have disabled it", fix=advice.enable(name))


def _undisputed(plugin: Installed, plugins: Sequence[Installed]) -> Installed:
    """Set the state of a plugin whose namespace another one claims too. Neither of the two is used."""
    claims = [each for each in plugins if each.namespace == plugin.namespace and each.state == "ok"]
    if plugin.state != "ok" or len(claims) == 1:
        return plugin
    cause = f"the namespace is claimed by {' and '.join(claim.release for claim in claims)}"
    return replace(plugin, state="conflict", cause=cause, fix=advice.choose_one([each.distribution for each in claims]))
