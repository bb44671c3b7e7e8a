"""The plugins that the user has disabled: a small text file, one namespace or distribution a line.

It stands beside the user's own registry.yaml, and is read before anything of a plugin is, so that what is broken can
be taken out whatever is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from layerzoo.disk import atomic_path
from layerzoo.errors import NotFoundError, OutputError, RegistryError, UsageError, nearest
from layerzoo.paths import DISABLED_NAME, user_folder
from layerzoo.registry import advice
from layerzoo.registry.installed import CORE_DISTRIBUTION, CORE_NAMESPACE, Installed
from layerzoo.small_files import read_small

if TYPE_CHECKING:
    from layerzoo.registry.diagnostics import Code, Diagnostic

FILE_NAME = DISABLED_NAME
_HEADER = "# Plugins that layerzoo leaves out, one a line: written by `zoo plugin disable` and `zoo plugin enable`."
_MAX_BYTES = 100_000
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Disabled:
    """What the file says. ``entries``: the number of a line, from 1, and the name that stands there."""

    path: str = ""
    entries: tuple[tuple[int, str], ...] = ()
    problems: tuple[Diagnostic, ...] = ()

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.entries]

    def name_at(self, line: int) -> str | None:
        """The name that stands in a line; None where there is none."""
        return dict(self.entries).get(line)

    def covers(self, plugin: Installed) -> bool:
        return any(plugin.is_called(name) for name in self.names)

    def idle(self, plugins: Sequence[Installed]) -> Iterator[Diagnostic]:
        """The entries that name none of the plugins."""
        for line, name in self.entries:
            if not any(plugin.is_called(name) for plugin in plugins):
                message = f"'{name}' is disabled, and no plugin is called so. To remove the line: {advice.enable(name)}"
                yield _diagnostic(self.path, line, "reference", message)


def disabled_path() -> Path:
    """Where the file is, or would be."""
    return user_folder() / FILE_NAME


def read_disabled() -> Disabled:
    """What is disabled here and now. What cannot be read is a problem and disables nothing."""
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
            message = f"'{name[:60]}' is no name of a plugin: a line is a namespace or a distribution, or a # comment"
            problems.append(_diagnostic(str(path), number, "syntax", message))
    return Disabled(str(path), tuple(entries), tuple(problems))


def disable(name: str, plugins: Sequence[Installed]) -> list[Installed]:
    """Disable the plugins of a namespace or a distribution. Returns those that were not disabled yet.

    plugins: all that are installed.
    Raises: NotFoundError for a name that no plugin has; UsageError for layerzoo itself; OutputError when the file
    cannot be written, RegistryError when it cannot be read.
    """
    if not (called := [plugin for plugin in plugins if plugin.is_called(name)]):
        if name in (CORE_NAMESPACE, CORE_DISTRIBUTION):
            raise UsageError("layerzoo itself cannot be disabled, only the plugins beside it. All: zoo plugin list")
        raise _not_found(name, plugins, [])
    new = [plugin for plugin in called if plugin.state != "disabled"]
    if new:
        # A namespace may be any text where a plugin's metadata is wrong; the distribution always has a name.
        names = [name] if _NAME.fullmatch(name) else [plugin.distribution for plugin in new]
        _edit(lambda lines: [*(lines or [_HEADER]), *names])
    return new


def enable(name: str, plugins: Sequence[Installed]) -> list[str]:
    """Take the entries out of the file that disable a plugin. Returns them; none when it was not disabled.

    Where an entry is the namespace of several plugins and one of them is named, the others stay disabled.
    Raises: as :func:`disable`; a name that only the file knows is no mistake.
    """
    entries = read_disabled().names
    called = [plugin for plugin in plugins if plugin.is_called(name)]
    if not called and name not in entries:
        raise _not_found(name, plugins, entries)
    gone = {entry for entry in entries if entry == name or any(plugin.is_called(entry) for plugin in called)}
    if not gone:
        return []
    others = [plugin for plugin in plugins if plugin not in called and any(map(plugin.is_called, gone))]
    kept = [plugin.distribution for plugin in others]
    _edit(lambda lines: [*(line for line in lines if _name(line) not in gone), *kept])
    return sorted(gone)


def _not_found(name: str, plugins: Sequence[Installed], entries: Sequence[str]) -> NotFoundError:
    names = {each for plugin in plugins for each in (plugin.namespace, plugin.distribution)} | set(entries)
    close = nearest(name, sorted(names))
    hint = f"Nearest: {', '.join(close)}. " if close else ""
    return NotFoundError(f"there is no plugin '{name}'. {hint}All: zoo plugin list", asked=name, nearest=close)


def _edit(change: Callable[[list[str]], list[str]]) -> None:
    """Write the lines of the file anew: whole, or not at all."""
    path = disabled_path()
    lines = change(_lines(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path.resolve()) as temporary:  # where it is a link, what it leads to is written
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        message = (
            f"{path} cannot be written: {error.strerror}. Make the folder writable; or leave all plugins out for "
            "once: zoo --no-plugins …"
        )
        raise OutputError(message, path=path) from error


def _lines(path: Path) -> list[str]:
    """Raises: RegistryError when the file is there and cannot be read."""
    try:
        return read_small(path, _MAX_BYTES).decode("utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise RegistryError(f"the list of disabled plugins {problem}, and counts for nothing. Correct or remove {path}")


def _name(line: str) -> str:
    return line.partition("#")[0].strip()


def _diagnostic(path: str, line: int, code: Code, message: str) -> Diagnostic:
    from layerzoo.registry.diagnostics import Diagnostic

    return Diagnostic(path=path, line=line, code=code, message=message)
