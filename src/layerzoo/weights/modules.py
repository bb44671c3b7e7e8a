"""The modules that a model of sentence-transformers consists of: modules.json names a folder for each, and a router
names further folders."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from layerzoo.weights.sources import check_inside

MODULES = "modules.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""What the tensors of a module are stored in, the first that exists."""
_ROUTERS = ("router_config.json", "config.json")
"""What the modules of a router are named in; the second name is that of older releases."""
_DEEPEST = 4
"""How many routers are followed into each other."""
_MOST = 100
"""More modules than any model has; the plugin that reads a longer list refuses it."""


def folder_in(path: str) -> str:
    """Return the folder that a path of a modules.json names; empty for the root folder."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def module_folders(open_file: Callable[[str], Path | None]) -> tuple[str, ...]:
    """Return the folders of a model's modules, in the order of its modules.json; the root folder is not among them.

    open_file: returns the path of one of the model's files on this machine, or None where it has none of that name.
    A file that is no list of modules names none: the plugin that reads it reports the mistake.
    Raises: UnsafeWeightsError for a folder that leaves the model's own.
    """
    rows = _json(open_file(MODULES))
    found: dict[str, None] = {}
    for row in rows[:_MOST] if isinstance(rows, list) else []:
        path = row.get("path") if isinstance(row, dict) else None
        if isinstance(path, str):
            folder = folder_in(path) and check_inside(folder_in(path), of=MODULES)
            found |= dict.fromkeys([folder, *islice(_routed(folder, open_file, _DEEPEST), _MOST)])
    return tuple(folder for folder in found if folder)


def _routed(folder: str, open_file: Callable[[str], Path | None], depth: int) -> Iterator[str]:
    """Yield the folders that the router in a folder names, if there is one."""
    below = f"{folder}/" if folder else ""
    written = next((said for name in _ROUTERS if isinstance(said := _json(open_file(f"{below}{name}")), dict)), {})
    named = written.get("types") if isinstance(written.get("structure"), dict) else None
    for name in list(named)[:_MOST] if isinstance(named, dict) and depth else ():
        inner = check_inside(f"{below}{name}", of=_ROUTERS[0])
        yield inner
        yield from _routed(inner, open_file, depth - 1)


def _json(path: Path | None) -> Any:
    if path is not None:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return json.loads(path.read_text(encoding="utf-8"))
    return None


def module_weights(names: Collection[str], folders: Iterable[str]) -> Iterator[str]:
    """Yield the file with a module's tensors, for each of the folders that has one."""
    for folder in folders:
        found = next((f"{folder}/{leaf}" for leaf in _WEIGHTS if f"{folder}/{leaf}" in names), None)
        if found is not None:
            yield found
