"""What stands in a file of features beside ids and numbers: a few lines of JSON, the same in every format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerzoo.errors import InputError, SampleError
from layerzoo.features.features import Features, LayerArray, ragged

Shape = tuple[int, ...] | None
"""The shape of each sample of a layer; None when they differ."""

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything of Features but ids and numbers."""

    shapes: Mapping[str, Shape]
    provenance: Mapping[str, Any]
    errors: Sequence[SampleError]
    report: Mapping[str, int]
    passed_over: Sequence[str]
    times_s: Sequence[Sequence[float]] = ()

    def to_json(self) -> str:
        return json.dumps(
            {
                "format": _FORMAT,
                "shapes": dict(self.shapes),
                "provenance": dict(self.provenance),
                "errors": [[error.id, error.reason] for error in self.errors],
                "report": dict(self.report),
                "passed_over": list(self.passed_over),
                **({"times_s": list(map(list, self.times_s))} if self.times_s else {}),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes | None) -> Summary:
        """Raises: InputError when the text is missing or of a later format."""
        if text is None:
            raise InputError("it has no 'layerzoo' metadata, so it was not written by layerzoo")
        data = json.loads(text)
        if data["format"] != _FORMAT:
            raise InputError(f"its format is {data['format']}, and this version of layerzoo reads {_FORMAT}")
        return cls(
            shapes={name: None if shape is None else tuple(shape) for name, shape in data["shapes"].items()},
            provenance=data["provenance"],
            errors=[SampleError(sample, reason) for sample, reason in data["errors"]],
            report=data["report"],
            passed_over=data["passed_over"],
            times_s=data.get("times_s", ()),
        )

    def features(self, ids: Sequence[str], chunks: Callable[[str], Iterator[LayerArray]]) -> Features:
        """The Features that a file holds. chunks: the arrays of a layer, some rows at a time."""
        return Features(
            ids=tuple(ids),
            by_layer={name: _gathered(chunks(name), shape, len(ids)) for name, shape in self.shapes.items()},
            provenance=self.provenance,
            errors=tuple(self.errors),
            report=self.report,
            passed_over=tuple(self.passed_over),
            times_s=tuple(tuple(times) for times in self.times_s),
        )


def _gathered(chunks: Iterator[LayerArray], shape: Shape, n: int) -> LayerArray:
    """All rows in one array, made once: joining the chunks would take the memory twice."""
    if shape is None:
        return ragged([sample for chunk in chunks for sample in chunk])
    result = np.empty((n, *shape), dtype=np.float32)
    start = 0
    for chunk in chunks:
        if chunk.shape[1:] != shape:
            raise InputError(f"samples of shape {chunk.shape[1:]}, where {shape} is declared")
        if len(chunk) == n:
            return chunk
        result[start : start + len(chunk)] = chunk
        start += len(chunk)
    if start != n:
        raise InputError(f"it has {n} ids and {start} rows of numbers")
    return result
