"""Advice about inputs that cannot be read: the form in which the caller can pass them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

_POSSIBLE = (
    "Pass a path, a folder, a pattern, '-', a list of samples, a table of pandas, polars, pyarrow or datasets, a torch "
    "Dataset or a DataLoader"
)


def refused(inputs: Any) -> str | None:
    """Return advice for inputs that cannot be read; None if they can be iterated over."""
    library = type(inputs).__module__.partition(".")[0]
    if isinstance(inputs, Mapping):
        keys = ", ".join(map(repr, list(inputs)[:5]))
        if library == "datasets":
            return f"It has several splits: pass one of {keys}, as in dataset[{next(iter(inputs), 'train')!r}]"
        return f"Pass one of its values, as in inputs[{next(iter(inputs), 'text')!r}], or list(inputs.values())"
    if isinstance(inputs, Set):
        return "A set has no order, and rows must have one. Pass sorted(inputs)"
    if callable(getattr(inputs, "collect", None)):
        return "Pass its result: inputs.collect()"
    if hasattr(type(inputs), "columns"):
        return "Pass one of its columns as a list, or the table as one of pandas, polars or pyarrow"
    if callable(inputs) and not isinstance(inputs, Iterable):
        return "Pass its result: call it"
    return None if isinstance(inputs, Iterable) else _POSSIBLE
