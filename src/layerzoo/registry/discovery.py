"""What the zoo consists of here and now: the core, the plugins that are installed, and the user's files."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from layerzoo.environment import environment
from layerzoo.local_files import local_folder
from layerzoo.paths import user_folder
from layerzoo.registry import advice
from layerzoo.registry.disabled import Disabled, read_disabled
from layerzoo.registry.installed import FILE_NAME, PACKAGE, Installed, core, scan
from layerzoo.registry.notes import Notes
from layerzoo.registry.published import PUBLISHED
from layerzoo.registry.source import UNSETTLED, fingerprint

if TYPE_CHECKING:
    from layerzoo.registry.diagnostics import Diagnostic

NO_PLUGINS = "LAYERZOO_NO_PLUGINS"
"""The environment variable that leaves all plugins out."""
# Raised when what the scan finds, or how it is written, changes: what another version of layerzoo kept is not read.
_SCAN_FORMAT = 3


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything that the zoo consists of here and now: the core itself first, then plugins, then the user's files."""

    installed: tuple[Installed, ...]
    user_files: tuple[str, ...]
    disabled: Disabled = field(default_factory=Disabled)
    has_plugins: bool = True
    """Whether plugins count at all."""
    published: str = PUBLISHED
    """The list of models that can be installed."""
    local_file: str | None = None
    """The one of ``user_files`` in the working directory."""

    @property
    def version(self) -> str | None:
        """layerzoo's own version; None when it runs from a folder that was never installed."""
        return self.installed[0].version if self.installed else None

    @property
    def plugins(self) -> tuple[Installed, ...]:
        """All but the core itself."""
        return self.installed[1:]

    def problems(self) -> list[Diagnostic]:
        """What is wrong with the list of disabled plugins."""
        idle = self.disabled.idle(self.plugins) if self.has_plugins else ()
        return [*self.disabled.problems, *idle]


def look_around(notes: Notes) -> Surroundings:
    """What is installed on ``sys.path``, and the user's files. The scan of the former is kept in the notes."""
    has_plugins, disabled = _has_plugins(), read_disabled()
    installed = _settled(_kept_scan(notes), disabled) if has_plugins else (core(),)
    # Not Path.resolve, which raises RuntimeError for a link that leads to itself.
    known = {os.path.realpath(each.path) for each in installed if each.path}
    files = tuple(file for file in _user_files() if os.path.realpath(file) not in known)
    local = next((file for file in files if file == local_registry()), None)
    return Surroundings(installed, files, disabled, has_plugins, local_file=local)


@contextlib.contextmanager
def without_plugins() -> Iterator[None]:
    """Within, only the core's own file and the user's count, for this process and its children."""
    with environment(NO_PLUGINS, "1"):
        yield


def _has_plugins() -> bool:
    return os.environ.get(NO_PLUGINS, "") in ("", "0")


def _kept_scan(notes: Notes) -> list[Installed]:
    """The core, then every plugin, as found now or when the folders were last as they are now."""
    kept = remembered(notes, _SCAN_FORMAT, lambda: [asdict(each) for each in (core(), *scan())])
    return [Installed(**each) for each in kept]


def remembered(notes: Notes, key: int | str, find: Callable[[], Any]) -> Any:
    """Return what was found on ``sys.path`` when its folders were last as they are now; else find it, and keep it.

    Args:
        notes: where it is kept.
        key: what is looked for, and the format of the answer.
        find: returns the answer as a JSON value.
    """
    folders = [_absolute(folder) for folder in sys.path if isinstance(folder, str)]
    states = [fingerprint(folder) for folder in folders]
    paths, times = json.dumps([key, *folders, str(PACKAGE)]), json.dumps(states)
    with contextlib.suppress(sqlite3.DatabaseError):
        if UNSETTLED not in states and (kept := notes.scan(paths, times)) is not None:
            return kept
    found = find()
    with contextlib.suppress(sqlite3.DatabaseError):
        notes.keep_scan(paths, times, found)
    return found


def _absolute(folder: str) -> str:
    try:
        return os.path.abspath(folder)  # noqa: PTH100 - '' is the working directory
    except OSError:  # which may have been removed
        return folder


def _user_files() -> Iterator[str]:
    """The user's own files, the nearest first."""
    if local := local_registry():
        yield local
    yield str(user_folder() / FILE_NAME)


def local_registry() -> str | None:
    """Return the path of the registry.yaml of the working directory, which need not exist; None where none counts."""
    here = local_folder()
    # In a checkout of layerzoo it is the core's own file.
    return None if here is None or (here / "src" / "layerzoo" / "registry").is_dir() else str(here / FILE_NAME)


# ---------------------------------------------------------------- which of the plugins count


def _settled(installed: Sequence[Installed], disabled: Disabled) -> tuple[Installed, ...]:
    """The core, and each plugin with what the others and the user mean for it."""
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
    """Two that claim one namespace are both out: neither may speak for the other's models."""
    claims = [each for each in plugins if each.namespace == plugin.namespace and each.state == "ok"]
    if plugin.state != "ok" or len(claims) == 1:
        return plugin
    cause = f"the namespace is claimed by {' and '.join(claim.release for claim in claims)}"
    return replace(plugin, state="conflict", cause=cause, fix=advice.choose_one([each.distribution for each in claims]))
