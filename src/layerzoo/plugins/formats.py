"""File formats that plugins read, as they declare them in ``files.toml``. No plugin is imported to find one.

::

    [[formats]]
    kind = "vision"                 # or audio, video, weights
    names = ["*.dcm"]               # patterns of file names: a * matches any characters
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from layerzoo.errors import PluginError
from layerzoo.notices import warn
from layerzoo.registry import PluginManifest, registry
from layerzoo.small_files import read_small

FormatKind = Literal["vision", "audio", "video", "weights"]
"""The content of a file that a plugin reads."""

DECLARATION = "files.toml"
"""The name of the file, which is next to the registry.yaml of a plugin."""
_MAX_BYTES = 1_000_000
_FRESH_S = 1.0
"""Formats are looked up for every file of a folder, and plugins rarely change meanwhile."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """Files that a plugin reads.

    kind: their content.
    pattern: of their names, in lower case.
    namespace: the plugin's.
    """

    kind: FormatKind
    pattern: str
    namespace: str


def format_of(name: str, kind: FormatKind | None = None) -> FileFormat | None:
    """Return the format of a file, if a plugin declares it. Upper and lower case are the same.

    Args:
        name: the name of the file, without folders.
        kind: only formats of this kind; None for all kinds except weights.
    Raises: PluginError if several plugins declare it.
    """
    lowered = name.lower()
    formats = [
        file_format
        for file_format in _formats()
        if (file_format.kind == kind if kind else file_format.kind != "weights")
        and fnmatchcase(lowered, file_format.pattern)
    ]
    if len({file_format.namespace for file_format in formats}) > 1:
        names = sorted({file_format.namespace for file_format in formats})
        raise PluginError(
            f"{name} is of a format that several plugins read: {', '.join(names)}. Next: zoo plugin disable {names[0]}",
            plugin=names[0],
        )
    return formats[0] if formats else None


_cached_formats: tuple[float, tuple[FileFormat, ...]] = (0.0, ())


def _formats() -> tuple[FileFormat, ...]:
    """Return the declarations of all usable plugins."""
    global _cached_formats
    now = time.monotonic()
    if now - _cached_formats[0] > _FRESH_S or not _cached_formats[0]:
        _cached_formats = (
            now,
            tuple(file_format for plugin in registry().plugins() for file_format in _of_plugin(plugin)),
        )
    return _cached_formats[1]


def _of_plugin(plugin: PluginManifest) -> tuple[FileFormat, ...]:
    if not plugin.is_usable or plugin.path is None:
        return ()
    path = Path(plugin.path).with_name(DECLARATION)
    try:
        return _read(path, path.stat().st_mtime_ns, plugin.namespace)
    except OSError:
        return ()


@lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int, namespace: str) -> tuple[FileFormat, ...]:
    try:
        declared = tomllib.loads(read_small(path, _MAX_BYTES).decode())
        return tuple(_parse(declared.get("formats", ()), namespace))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        warn(f"the formats in {path} are ignored: they are not of the form that docs/plugins/hooks.md shows: {error!r}")
        return ()


def _parse(rules: Any, namespace: str) -> Iterator[FileFormat]:
    for rule in rules:
        kind, names = rule["kind"], rule["names"]
        if kind not in get_args(FormatKind):
            raise ValueError(f"kind {kind!r} is not one of {', '.join(get_args(FormatKind))}")
        if not isinstance(names, list) or not names:
            raise TypeError(f"names {names!r} is not a list of patterns")
        for name in names:
            if not name.strip("*?"):
                raise ValueError(f"the pattern {name!r} matches every file")
            yield FileFormat(kind, name.lower(), namespace)
