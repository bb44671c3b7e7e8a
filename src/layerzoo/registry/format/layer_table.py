"""The layers of a generated catalogue: a table with a row for each run of layers that differ in their number only.

A row has the facts of a layer in the order of ``COLUMNS``; what is missing at its end says nothing. ``axes`` are
letters, ``BTC`` for batch, token and channel. Costs that grow evenly along a run are ``[first, step]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from layerzoo.spec import Layer

_TOKENS = ("suffix_tokens", "last_tokens")
COLUMNS = ("name", "module", "axes", "shape", "params", "flops", "prefix_tokens", "call", "output", "at", *_TOKENS)
LETTERS = {
    "B": "batch",
    "T": "token",
    "L": "time",
    "H": "height",
    "W": "width",
    "D": "depth",
    "F": "frame",
    "N": "window",
    "C": "channel",
}
"""The word of an axis by its letter: those of the field, where a sequence of sound has a length, and windows
are counted."""

_LETTER_OF = {word: letter for letter, word in LETTERS.items()}
_COSTS = ("params", "flops")
_NUMBER = re.compile(r"(0|[1-9]\d*)")


def packed(layers: Iterable[Layer]) -> list[list[Any]]:
    """The table of some layers. Depths are left out: they follow from the FLOPs."""
    runs: list[_LayerRun] = []
    for layer in layers:
        if not (runs and runs[-1].takes(layer)):
            runs.append(_LayerRun([layer]))
    return [run.row() for run in runs]


def unpacked(table: Sequence[Sequence[Any]], columns: Sequence[str] = COLUMNS) -> dict[str, dict[str, Any]]:
    """A table in the form in which an author declares layers: their facts by name, ranges not written out.

    columns: what stands in a row, the name first. Raises: ValueError when it is no such table.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(table, start=1):
        if not isinstance(row, list) or not 2 <= len(row) <= len(columns) or not isinstance(row[0], str):
            wanted = f"a row of layers is a list of 2 to {len(columns)} values: {', '.join(columns)}"
            raise ValueError(f"row {number}: {wanted}")
        facts = {column: value for column, value in zip(columns, row, strict=False) if value is not None}
        name = facts.pop("name")
        if name in found:
            raise ValueError(f"row {number}: the layer '{name}' occurs twice in it")
        if isinstance(letters := facts.get("axes"), str):
            facts["axes"] = [LETTERS.get(letter, letter) for letter in letters]
        found[name] = facts
    return found


@dataclass(slots=True)
class _LayerRun:
    """Layers one after the other whose names and modules count on, and that have all else in common."""

    layers: list[Layer]
    places: tuple[int, int] | None = field(default=None)
    """Which of the parts of name and module counts on, from the second layer on."""

    def takes(self, layer: Layer) -> bool:
        """Whether a layer is the next of the run; then it is part of it."""
        last = self.layers[-1]
        places = (_counting(last.name, layer.name), _counting(last.module, layer.module))
        if -1 in places or self.places not in (None, places) or not _are_alike(last, layer):
            return False
        if len(self.layers) > 1 and _steps(last, layer) != _steps(self.layers[-2], last):
            return False
        if any(step is not None and step < 0 for step in _steps(last, layer)):
            return False
        self.layers.append(layer)
        self.places = (places[0], places[1])
        return True

    def row(self) -> list[Any]:
        first = self.layers[0]
        facts: dict[str, Any] = {column: getattr(first, column) for column in COLUMNS}
        facts["axes"] = None if first.axes is None else "".join(_LETTER_OF[word] for word in first.axes)
        facts["shape"] = None if first.shape is None else list(first.shape)
        facts["at"] = None if first.at == "output" else first.at
        if self.places is not None:
            facts["name"] = _range(first.name, self.layers[-1].name, self.places[0])
            facts["module"] = _range(first.module, self.layers[-1].module, self.places[1])
            for cost, step in zip(_COSTS, _steps(first, self.layers[1]), strict=True):
                facts[cost] = [facts[cost], step] if step else facts[cost]
        row = [facts[column] for column in COLUMNS]
        while row[-1] is None:
            row.pop()
        return row


def _are_alike(one: Layer, other: Layer) -> bool:
    return all(
        getattr(one, fact) == getattr(other, fact)
        for fact in ("axes", "shape", "prefix_tokens", "call", "output", "at", *_TOKENS)
    ) and all((getattr(one, cost) is None) == (getattr(other, cost) is None) for cost in _COSTS)


def _steps(one: Layer, other: Layer) -> tuple[int | None, ...]:
    """What the second costs more than the first."""
    pairs = [(getattr(one, cost), getattr(other, cost)) for cost in _COSTS]
    return tuple(None if cost is None else following - cost for cost, following in pairs)


def _counting(one: str, other: str) -> int:
    """Which part of two texts is a number that counts on by one, all else being equal; -1 where that is not so."""
    parts, others = _NUMBER.split(one), _NUMBER.split(other)
    if len(parts) != len(others):
        return -1
    different = [position for position, (part, its) in enumerate(zip(parts, others, strict=True)) if part != its]
    if len(different) != 1 or different[0] % 2 == 0 or int(others[different[0]]) != int(parts[different[0]]) + 1:
        return -1
    return different[0]


def _range(first: str, last: str, position: int) -> str:
    parts = _NUMBER.split(first)
    parts[position] = f"{{{parts[position]}..{_NUMBER.split(last)[position]}}}"
    return "".join(parts)
