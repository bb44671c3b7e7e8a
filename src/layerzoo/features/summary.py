"""The part of a file of features that is neither ids nor numbers: a few lines of JSON, the same in every format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from layerzoo.errors import InputError, SampleError
from layerzoo.features.digests import Digests

Shape = tuple[int, ...] | None
"""The shape of each sample of a layer; None when they differ."""

KEY = "layerzoo"
"""The key of the JSON in the metadata of a file."""
DIGEST_KEY = "layerzoo.sha256"
"""The key of its sha256, in hex."""
_FORMAT = 2
_WITHOUT_DIGESTS = 1
"""The format of earlier versions, which is still read."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything of Features but ids and numbers; the digests of these."""

    shapes: Mapping[str, Shape]
    provenance: Mapping[str, Any]
    errors: Sequence[SampleError]
    report: Mapping[str, int]
    passed_over: Sequence[str]
    times_s: Sequence[Sequence[float]] = ()
    start_s: Sequence[float] = ()
    end_s: Sequence[float] = ()
    times_by_layer: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    digests: Digests | None = None
    """None in a file of an earlier version, which has none."""
    frame_numbers: Sequence[Sequence[int]] = ()

    def to_json(self) -> str:
        return json.dumps(
            {
                "format": _WITHOUT_DIGESTS if self.digests is None else _FORMAT,
                "shapes": dict(self.shapes),
                "provenance": dict(self.provenance),
                "errors": [[error.id, error.reason] for error in self.errors],
                "report": dict(self.report),
                "passed_over": list(self.passed_over),
                **({"times_s": list(map(list, self.times_s))} if self.times_s else {}),
                **({"frame_numbers": list(map(list, self.frame_numbers))} if self.frame_numbers else {}),
                **({"start_s": list(self.start_s), "end_s": list(self.end_s)} if self.start_s else {}),
                **({"times_by_layer": _lists(self.times_by_layer)} if self.times_by_layer else {}),
                **({"digests": {"ids": self.digests.ids, "layers": dict(self.digests.layers)}} if self.digests else {}),
            }
        )

    def to_metadata(self) -> dict[str, str]:
        """Serialize it for the metadata of a file: the JSON, and the sha256 of the JSON."""
        text = self.to_json()
        return {KEY: text, DIGEST_KEY: _sha256(text.encode())}

    @classmethod
    def from_metadata(cls, text: str | bytes | None, digest: str | bytes | None) -> Summary:
        """Deserialize it from the metadata of a file.

        Args:
            text: the JSON; None where the file has none.
            digest: the sha256 of the JSON; None where the file has none.
        Raises: InputError when it is missing, damaged or of a later format; ValueError, TypeError, KeyError or
            RecursionError for JSON that this class does not write.
        """
        if text is None:
            is_damaged = digest is not None
            raise InputError(
                _DAMAGED if is_damaged else "it has no 'layerzoo' metadata, so it was not written by layerzoo"
            )
        raw = text.encode() if isinstance(text, str) else text
        stated = digest.encode() if isinstance(digest, str) else digest
        if stated is not None and _sha256(raw).encode() != stated:
            raise InputError(_DAMAGED)
        data = json.loads(raw)
        if data["format"] not in (_FORMAT, _WITHOUT_DIGESTS):
            raise InputError(f"its format is {data['format']}, and this version of layerzoo reads {_FORMAT}")
        if (stated is None) != (data["format"] == _WITHOUT_DIGESTS):
            raise InputError(_DAMAGED)
        digests = data["digests"] if data["format"] == _FORMAT else None
        return cls(
            shapes={str(name): _shape(shape) for name, shape in data["shapes"].items()},
            provenance=dict(data["provenance"]),
            errors=[SampleError(str(sample), str(reason)) for sample, reason in data["errors"]],
            report=dict(data["report"]),
            passed_over=list(map(str, data["passed_over"])),
            frame_numbers=[tuple(map(int, numbers)) for numbers in data.get("frame_numbers", ())],
            times_s=_times(data.get("times_s", ())),
            start_s=tuple(map(float, data.get("start_s", ()))),
            end_s=tuple(map(float, data.get("end_s", ()))),
            times_by_layer={str(name): _times(times) for name, times in data.get("times_by_layer", {}).items()},
            digests=None if digests is None else Digests(str(digests["ids"]), dict(digests["layers"])),
        )


_DAMAGED = "its metadata are damaged: their sha256 is not the one that was written with them"


def _times(samples: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    return [tuple(map(float, times)) for times in samples]


def _lists(by_layer: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, list[list[float]]]:
    return {name: list(map(list, times)) for name, times in by_layer.items()}


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _shape(value: Any) -> Shape:
    """Raises: ValueError for anything but sizes."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(size) is int and size >= 0 for size in value):
        raise ValueError(f"{value!r} is not a shape")
    return tuple(value)
