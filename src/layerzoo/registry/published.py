"""Models that can be installed: a generated list in the package, one JSON object a line, in the order of their ids.

A line has those of the keys ``id``, ``modality``, ``builder``, ``license``, ``params``, ``width``, ``size_px``,
``rate_hz`` and ``summary`` that say something. It counts while no plugin of its namespace is installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerzoo.registry.entry import Entry

PUBLISHED = str(Path(__file__).parents[1] / "published.jsonl")

_KEYS = ("id", "modality", "builder", "license", "params", "width", "size_px", "rate_hz", "summary")


def published_models(path: str) -> Iterator[dict[str, Any]]:
    """The lines of such a list."""
    with Path(path).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def published_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """The list of some models, as it is written."""
    for entry in sorted(entries, key=lambda each: each.id):
        plain = entry.to_dict()
        told = {key: plain[key] for key in _KEYS if plain[key] not in (None, "")}
        yield json.dumps(told, ensure_ascii=False, separators=(",", ":")) + "\n"
