"""The layers of a generated catalogue: a table with one row per run of layers that differ only in their number.

A row has the facts of a layer in the order of ``COLUMNS``; trailing unknown facts are omitted. ``axes`` are letters,
such as ``BTC`` for batch, token and channel. Costs that increase linearly along a run are ``[first, step]``.
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
    "O": "object",
    "C": "channel",
}
"""The name of each axis by its letter. L is common for the length of audio sequences, and N counts windows."""

_LETTER_OF = {word: letter for letter, word in LETTERS.items()}
_COSTS = ("params", "flops")
_NUMBER = re.compile(r"(0|[1-9]\d*)")


def packed(layers: Iterable[Layer]) -> list[list[Any]]:
    """Return the table of some layers. Depths are omitted, since they follow from the FLOPs."""
    runs: list[_LayerRun] = []
    for layer in layers:
        if not (runs and runs[-1].takes(layer)):
            runs.append(_LayerRun([layer]))
    return [run.row() for run in runs]


def unpacked(table: Sequence[Sequence[Any]], columns: Sequence[str] = COLUMNS) -> dict[str, dict[str, Any]]:
    """Convert a table to the form in which an author declares layers, with ranges not expanded.

    Args:
        table: the rows.
        columns: the names of the columns, ``name`` first.
    Raises: ValueError if it is not a valid table.
    """
    layers: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(table, start=1):
        if not isinstance(row, list) or not 2 <= len(row) <= len(columns) or not isinstance(row[0], str):
            rule = f"a row of layers is a list of 2 to {len(columns)} values: {', '.join(columns)}"
            raise ValueError(f"row {number}: {rule}")
        facts = {column: value for column, value in zip(columns, row, strict=False) if value is not None}
        name = facts.pop("name")
        if name in layers:
            raise ValueError(f"row {number}: the layer '{name}' occurs twice in it")
        if isinstance(letters := facts.get("axes"), str):
            facts["axes"] = [LETTERS.get(letter, letter) for letter in letters]
        layers[name] = facts
    return layers


@dataclass(slots=True)
class _LayerRun:
    """Consecutive layers whose names and modules are numbered consecutively, and that share all other facts."""

    layers: list[Layer]
    places: tuple[int, int] | None = field(default=None)
    """The parts of name and module that are the number, known from the second layer on."""

    def takes(self, layer: Layer) -> bool:
        """Append a layer if it continues the run. Return whether it does."""
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


def _are_alike(layer: Layer, next_layer: Layer) -> bool:
    return all(
        getattr(layer, fact) == getattr(next_layer, fact)
        for fact in ("axes", "shape", "prefix_tokens", "call", "output", "at", *_TOKENS)
    ) and all((getattr(layer, cost) is None) == (getattr(next_layer, cost) is None) for cost in _COSTS)


def _steps(layer: Layer, next_layer: Layer) -> tuple[int | None, ...]:
    """Return the difference of the costs of two layers."""
    pairs = [(getattr(layer, cost), getattr(next_layer, cost)) for cost in _COSTS]
    return tuple(None if cost is None else following - cost for cost, following in pairs)


def _counting(text: str, next_text: str) -> int:
    """Return the part of two texts that is a number and increases by one, if all others are equal; otherwise -1."""
    parts, next_parts = _NUMBER.split(text), _NUMBER.split(next_text)
    if len(parts) != len(next_parts):
        return -1
    different = [position for position, (part, its) in enumerate(zip(parts, next_parts, strict=True)) if part != its]
    if len(different) != 1 or different[0] % 2 == 0 or int(next_parts[different[0]]) != int(parts[different[0]]) + 1:
        return -1
    return different[0]


def _range(first: str, last: str, position: int) -> str:
    parts = _NUMBER.split(first)
    parts[position] = f"{{{parts[position]}..{_NUMBER.split(last)[position]}}}"
    return "".join(parts)
