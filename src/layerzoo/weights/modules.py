"""The modules that sentence-transformers runs after a network: modules.json names a folder for each."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from layerzoo.weights.sources import check_inside

MODULES = "modules.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""What the tensors of a module are stored in, the first that exists."""
_MOST = 100
"""More modules than any model has; the plugin that reads a longer list refuses it."""


def module_folders(path: Path) -> tuple[str, ...]:
    """Return the folders that a modules.json names, in its order; the root folder is not among them.

    A file that is no list of modules names none: the plugin that reads it reports the mistake.
    Raises: UnsafeWeightsError for a folder that leaves the model's own.
    """
    rows: object = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        rows = json.loads(path.read_text(encoding="utf-8"))
    named = [row.get("path") for row in rows[:_MOST] if isinstance(row, dict)] if isinstance(rows, list) else []
    folders = dict.fromkeys(each.strip("/") for each in named if isinstance(each, str) and each.strip("/"))
    return tuple(check_inside(folder, of=str(path)) for folder in folders)


def module_weights(names: Collection[str], folders: Iterable[str]) -> Iterator[str]:
    """Yield the file with a module's tensors, for each of the folders that has one."""
    for folder in folders:
        found = next((f"{folder}/{leaf}" for leaf in _WEIGHTS if f"{folder}/{leaf}" in names), None)
        if found is not None:
            yield found
