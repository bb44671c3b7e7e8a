"""The list of disabled plugins: a text file with one namespace or distribution per line.

The file is next to the user's registry.yaml. It is read before any file of a plugin, so that a broken plugin can always
be disabled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from layerzoo.disk import atomic_path
from layerzoo.errors import NotFoundError, OutputError, RegistryError, UsageError, nearest, nearest_hint
from layerzoo.paths import DISABLED_NAME, user_folder
from layerzoo.registry.installed import advice
from layerzoo.registry.installed.plugin import CORE_DISTRIBUTION, CORE_NAMESPACE, Installed
from layerzoo.small_files import read_small

if TYPE_CHECKING:
    from layerzoo.registry.format.diagnostics import Code, Diagnostic

FILE_NAME = DISABLED_NAME
_HEADER = "# Plugins that layerzoo leaves out, one a line: written by `zoo plugin disable` and `zoo plugin enable`."
_MAX_BYTES = 100_000
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


class Disabled(NamedTuple):
    """The content of the file. ``entries``: pairs of line number, from 1, and name."""

    path: str = ""
    entries: tuple[tuple[int, str], ...] = ()
    problems: tuple[Diagnostic, ...] = ()

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.entries]

    def name_at(self, line: int) -> str | None:
        """Return the name in a line; None if there is none."""
        return dict(self.entries).get(line)

    def covers(self, plugin: Installed) -> bool:
        return any(plugin.is_called(name) for name in self.names)

    def unused(self, plugins: Sequence[Installed]) -> Iterator[Diagnostic]:
        """Yield a diagnostic for each entry that is not the name of a plugin."""
        for line, name in self.entries:
            if not any(plugin.is_called(name) for plugin in plugins):
                message = (
                    f"'{name}' is disabled, but there is no such plugin. To remove the line: {advice.enable(name)}"
                )
                yield _diagnostic(self.path, line, "reference", message)


def disabled_path() -> Path:
    """Return the path of the file, which need not exist."""
    return user_folder() / FILE_NAME


def read_disabled() -> Disabled:
    """Read the list of disabled plugins. A file or line that cannot be read becomes a problem, and disables nothing."""
    path = disabled_path()
    try:
        lines = _lines(path)
    except RegistryError as error:
        return Disabled(str(path), (), (_diagnostic(str(path), 1, "unreadable", str(error)),))
    entries, problems = [], []
    for number, line in enumerate(lines, start=1):
        name = _name(line)
        if _NAME.fullmatch(name):
            entries.append((number, name))
        elif name:
            message = (
                f"'{name[:60]}' is not the name of a plugin: a line is a namespace or a distribution, or a # comment"
            )
            problems.append(_diagnostic(str(path), number, "syntax", message))
    return Disabled(str(path), tuple(entries), tuple(problems))


def disable(name: str, plugins: Sequence[Installed]) -> list[Installed]:
    """Disable the plugins of a namespace or a distribution.

    Args:
        name: the namespace or the distribution.
        plugins: all installed plugins.
    Returns: the plugins that were not disabled before.
    Raises: NotFoundError if no plugin has this name; UsageError for layerzoo itself; OutputError if the file cannot be
        written; RegistryError if it cannot be read.
    """
    if not (matching := [plugin for plugin in plugins if plugin.is_called(name)]):
        if name in (CORE_NAMESPACE, CORE_DISTRIBUTION):
            raise UsageError("layerzoo itself cannot be disabled, only plugins can. All: zoo plugin list")
        raise _not_found(name, plugins, [])
    new = [plugin for plugin in matching if plugin.state != "disabled"]
    if new:
        # If the metadata of a plugin is wrong, its namespace may be any text; its distribution is always a name.
        names = [name] if _NAME.fullmatch(name) else [plugin.distribution for plugin in new]
        _edit(lambda lines: [*(lines or [_HEADER]), *names])
    return new


def enable(name: str, plugins: Sequence[Installed]) -> list[str]:
    """Remove the entries that disable a plugin.

    If an entry is the namespace of several plugins and only one of them is enabled, the others remain disabled.

    Args:
        name: the namespace or the distribution. It need not be installed if the file contains it.
        plugins: all installed plugins.
    Returns: the removed entries; none if the plugin was not disabled.
    Raises: the errors of :func:`disable`.
    """
    entries = read_disabled().names
    matching = [plugin for plugin in plugins if plugin.is_called(name)]
    if not matching and name not in entries:
        raise _not_found(name, plugins, entries)
    removed = {entry for entry in entries if entry == name or any(plugin.is_called(entry) for plugin in matching)}
    if not removed:
        return []
    still_disabled = [plugin for plugin in plugins if plugin not in matching and any(map(plugin.is_called, removed))]
    distributions = [plugin.distribution for plugin in still_disabled]
    _edit(lambda lines: [*(line for line in lines if _name(line) not in removed), *distributions])
    return sorted(removed)


def _not_found(name: str, plugins: Sequence[Installed], entries: Sequence[str]) -> NotFoundError:
    names = {name for plugin in plugins for name in (plugin.namespace, plugin.distribution)} | set(entries)
    close = nearest(name, sorted(names))
    hint = nearest_hint(close)
    return NotFoundError(f"there is no plugin '{name}'. {hint}All: zoo plugin list", asked=name, nearest=close)


def _edit(change: Callable[[list[str]], list[str]]) -> None:
    """Replace the lines of the file atomically."""
    path = disabled_path()
    lines = change(_lines(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path.resolve()) as temporary:  # the target of a link is replaced
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        message = (
            f"{path} cannot be written: {error.strerror}. Make the folder writable; or leave all plugins out for "
            "once: zoo --no-plugins …"
        )
        raise OutputError(message, path=path) from error


def _lines(path: Path) -> list[str]:
    """Read the lines of the file. Raises: RegistryError if the file exists and cannot be read."""
    try:
        return read_small(path, _MAX_BYTES).decode("utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise RegistryError(f"the list of disabled plugins {problem}, and is ignored. Correct or remove {path}")


def _name(line: str) -> str:
    return line.partition("#")[0].strip()


def _diagnostic(path: str, line: int, code: Code, message: str) -> Diagnostic:
    from layerzoo.registry.format.diagnostics import Diagnostic

    return Diagnostic(path=path, line=line, code=code, message=message)
