"""The folders of a repository that hold further files of a model, as the plugin that knows the library declares them.

A plugin declares in ``folders.toml``, next to its registry.yaml, which files name such folders. This is data, since
`zoo cache` needs it without importing the plugin. Each ``[[folders]]`` has:

- ``files``: names of JSON files; the first one of the right form applies.
- ``items``: the file is a list of objects, and this key of each object names a folder; or
- ``keys``: the file is an object, and the keys of the object under this key name folders within the file's own folder.
- ``requires``: a key of the file that has to be an object, to distinguish it from other files of its name.
- ``nested``: true for files in a named folder. Otherwise they are in the model's own folder.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from layerzoo.notices import warn
from layerzoo.weights.conventions import declarations
from layerzoo.weights.files import TENSOR_FILES
from layerzoo.weights.sources import check_inside

_DECLARATION = "folders.toml"
_MAX_DEPTH = 4
"""Files in named folders that name folders themselves are followed to this depth."""
_MAX_FOLDERS = 100
"""More folders than a model in use has. The plugin that reads a longer list refuses it."""


@dataclass(frozen=True, slots=True)
class FolderRule:
    """One ``[[folders]]`` of a folders.toml; see the module."""

    files: tuple[str, ...]
    items: str | None = None
    keys: str | None = None
    requires: str | None = None
    nested: bool = False

    def names(self, content: Any) -> list[str] | None:
        """Return the folders that a file names, or None if its content has another form."""
        if self.items is not None and isinstance(content, list):
            values = [row.get(self.items) for row in content[:_MAX_FOLDERS] if isinstance(row, dict)]
            return [value for value in values if isinstance(value, str)]
        if self.keys is None or not isinstance(content, dict):
            return None
        if self.requires is not None and not isinstance(content.get(self.requires), dict):
            return []
        folders = content.get(self.keys)
        return list(folders)[:_MAX_FOLDERS] if isinstance(folders, dict) else []


def module_folders(open_file: Callable[[str], Path | None]) -> tuple[str, ...]:
    """Return the folders with further files of a model, in the order of the files that name them.

    Args:
        open_file: returns the local path of one of the model's files, by its name, or None if there is none.
    Returns: paths relative to the model's own folder, which is not among them. A file of another form names none; the
        plugin that reads it reports the mistake.
    Raises: UnsafeWeightsError for a folder outside of the model's own.
    """
    folders: dict[str, None] = {}
    for rules in (_rules(*declared) for declared in declarations(_DECLARATION)):
        for rule in (rule for rule in rules if not rule.nested):
            for folder in _rule_folders(rule, "", open_file):
                folders |= dict.fromkeys([folder, *_nested(rules, folder, open_file, _MAX_DEPTH)][: _MAX_FOLDERS + 1])
    return tuple(folder for folder in folders if folder)


def _nested(
    rules: Iterable[FolderRule], folder: str, open_file: Callable[[str], Path | None], depth: int
) -> Iterator[str]:
    """Yield the folders that files in a folder name, and those that files in these name."""
    for rule in (rule for rule in rules if rule.nested and depth):
        for inner in _rule_folders(rule, folder, open_file):
            yield inner
            yield from _nested(rules, inner, open_file, depth - 1)


def _rule_folders(rule: FolderRule, folder: str, open_file: Callable[[str], Path | None]) -> Iterator[str]:
    """Yield the folders that the file of a rule in a folder names; an empty path is the model's own folder."""
    prefix = f"{folder}/" if folder else ""
    answers = ((file, rule.names(_json(open_file(f"{prefix}{file}")))) for file in rule.files)
    file, names = next(((file, names) for file, names in answers if names is not None), ("", []))
    for name in names:
        parts = [part for part in f"{prefix}{name}".split("/") if part not in ("", ".")]
        yield "/".join(parts) and check_inside("/".join(parts), of=file)


@lru_cache(maxsize=64)
def _rules(path: Path, changed_ns: int) -> tuple[FolderRule, ...]:
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))["folders"]
        return tuple(FolderRule(**{**rule, "files": tuple(rule["files"])}) for rule in declared)
    except (OSError, ValueError, TypeError, KeyError) as error:
        warn(f"{path} is ignored: it is not a list of [[folders]] with `files`: {error!r}")
        return ()


def _json(path: Path | None) -> Any:
    if path is not None:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return json.loads(path.read_text(encoding="utf-8"))
    return None


def module_weights(names: Collection[str], folders: Iterable[str]) -> Iterator[str]:
    """Yield the file with the tensors of each folder that has one.

    Args:
        names: of all files of the model.
        folders: from :func:`module_folders`.
    """
    for folder in folders:
        weights_file = next((f"{folder}/{leaf}" for leaf in TENSOR_FILES if f"{folder}/{leaf}" in names), None)
        if weights_file is not None:
            yield weights_file
