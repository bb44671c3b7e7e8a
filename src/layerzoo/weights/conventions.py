"""The names that libraries give to the files of a model, as the plugin that knows the library declares them.

A plugin declares them in ``files.toml``, next to its registry.yaml. This is data, since `zoo cache` needs it without
importing the plugin. Names are patterns: ``*`` matches any characters.

- ``other``: names of files that end like a checkpoint and hold no network, such as the state of an optimizer.
- ``secondary``: names of checkpoints that count only if there is no other.
- ``[[refused]]``: ``names`` of checkpoints that a network cannot be loaded from, and the ``reason`` with the next step.
- ``[[sizes]]``: ``names`` of small files, and the most ``bytes`` that one of them may have. The first rule that matches
  applies.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from layerzoo.notices import warn
from layerzoo.registry import registry

_DECLARATION = "files.toml"


@dataclass(frozen=True, slots=True)
class FileConventions:
    """The declarations of all installed plugins.

    other: patterns of names that end like a checkpoint and hold no network.
    secondary: patterns of checkpoints that count only if there is no other.
    refused: pairs of a pattern of checkpoints that no network can be loaded from, and the reason.
    sizes: pairs of a pattern of small files, and the most bytes that such a file may have.
    """

    other: tuple[str, ...] = ()
    secondary: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()

    def is_other(self, name: str) -> bool:
        """Return whether a file that ends like a checkpoint holds no network."""
        return any(fnmatchcase(name, pattern) for pattern in self.other)

    def is_secondary(self, name: str) -> bool:
        """Return whether a checkpoint counts only if there is no other."""
        return any(fnmatchcase(name, pattern) for pattern in self.secondary)

    def refusal(self, name: str) -> str | None:
        """Return the reason for which no network can be loaded from a checkpoint; None if one can."""
        return next((reason for pattern, reason in self.refused if fnmatchcase(name, pattern)), None)

    def most_bytes(self, name: str) -> int | None:
        """Return the most bytes that a small file may have, by its name without folders; None for an unknown name."""
        return next((size for pattern, size in self.sizes if fnmatchcase(name, pattern)), None)

    def __add__(self, more: FileConventions) -> FileConventions:
        return FileConventions(
            self.other + more.other,
            self.secondary + more.secondary,
            self.refused + more.refused,
            self.sizes + more.sizes,
        )


def file_conventions() -> FileConventions:
    """Return the declarations of the installed plugins. Takes about 1 ms: call it once for a list of names."""
    return sum((_read(path, changed_ns) for path, changed_ns in declarations(_DECLARATION)), FileConventions())


def declarations(name: str) -> Iterator[tuple[Path, int]]:
    """Yield the path of a file of each installed plugin that has it, and the time of its last change in nanoseconds.

    Args:
        name: of the file, which is next to the registry.yaml of the plugin.
    """
    for plugin in registry().plugins():
        if plugin.is_usable and plugin.path is not None:
            path = Path(plugin.path).with_name(name)
            try:
                yield path, path.stat().st_mtime_ns
            except OSError:
                continue


@lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int) -> FileConventions:
    try:
        return _parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        warn(f"{path} is ignored: it is not of the form that docs/catalogues.md describes: {error!r}")
        return FileConventions()


def _parse(declared: dict[str, Any]) -> FileConventions:
    return FileConventions(
        _patterns(declared.get("other", [])),
        _patterns(declared.get("secondary", [])),
        tuple((name, str(rule["reason"])) for rule in declared.get("refused", ()) for name in _patterns(rule["names"])),
        tuple((name, int(rule["bytes"])) for rule in declared.get("sizes", ()) for name in _patterns(rule["names"])),
    )


def _patterns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"{value!r} is not a list of names")
    return tuple(value)
