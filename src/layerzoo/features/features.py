"""Features in memory."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerzoo.errors import SampleError, UnknownLayerError, UsageError, nearest

FloatArray = npt.NDArray[np.float32]
LayerArray = npt.NDArray[Any]
"""(n, m) float32, (n, …) float32, or (n,) object: n float32 arrays that differ in shape."""

SHAPE_OF = "shape of "
_RESERVED_NAMES = frozenset({"id", "start_s", "end_s", "layerzoo.json", "__metadata__"})
"""What the files on disk call their own parts, so that no layer can be called so."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Features:
    """The result of an extraction: for every layer the features of n samples, with their provenance.

    The object cannot be changed. Its arrays are ordinary, writable ones, because some estimators refuse read-only
    input; changing them in place changes these features.
    """

    ids: tuple[str, ...]
    """The id of each sample, in the order of the rows. Bytes of a file name that are not UTF-8 are escaped."""
    by_layer: Mapping[str, LayerArray]
    """Per layer (n, m) float32; for pool="none" (n, …) float32, or (n,) object where the samples differ in shape."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Models, versions, digests and settings of the run: plain dicts, lists, strings and numbers."""
    errors: tuple[SampleError, ...] = ()
    """The samples that could not be used, and why."""
    report: Mapping[str, int] = field(default_factory=dict)
    """Counts over the inputs. Of texts: the number of ``words`` (divided by white space), of ``tokens`` without special
    tokens, and of ``unknown`` tokens if the tokenizer has a token for unknown words; of ``truncated`` texts, and of
    tokens that were ``left_out``; of ``chunked`` texts; and of ``empty`` texts, which are among the errors."""
    passed_over: tuple[str, ...] = ()
    """Files of a folder that are of another kind than what was extracted."""
    times_s: tuple[tuple[float, ...], ...] = ()
    """For each sample, the times of its frames, in seconds from the start of the recording. Given for pool="none" where
    frames of a video go through the network one by one, and for layers of audio with a time axis: the centre of each
    frame's receptive field. Empty otherwise."""
    start_s: tuple[float, ...] = ()
    """For each sample, its start in the recording, in seconds. Given for the windows of recordings; empty otherwise."""
    end_s: tuple[float, ...] = ()
    """For each sample, its end in the recording, in seconds. Given with ``start_s``."""
    times_by_layer: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    """The times of frames at the layers where they differ from ``times_s``: see :meth:`frame_times_s`."""

    def __post_init__(self) -> None:
        arrays = {name: _normalised(name, array, len(self.ids)) for name, array in self.by_layer.items()}
        object.__setattr__(self, "ids", tuple(map(_storable, self.ids)))
        object.__setattr__(self, "by_layer", arrays)
        object.__setattr__(self, "errors", tuple(self.errors))
        object.__setattr__(self, "passed_over", tuple(self.passed_over))
        object.__setattr__(self, "times_s", tuple(tuple(map(float, times)) for times in self.times_s))
        for name in ("start_s", "end_s"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        by_layer = {name: tuple(tuple(map(float, each)) for each in times) for name, times in self.times_by_layer.items()}
        object.__setattr__(self, "times_by_layer", by_layer)
        fields = {"times_s": self.times_s, "start_s": self.start_s, "end_s": self.end_s, **by_layer}
        for name, times in fields.items():
            if times and len(times) != len(self.ids):
                raise UsageError(f"{name}: the times of {len(times)} sample(s) for {len(self.ids)}")
        if bool(self.start_s) != bool(self.end_s):
            raise UsageError("start_s and end_s are given together")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, layer: str) -> LayerArray:
        """Return the array of one layer. Raises: UnknownLayerError."""
        if layer not in self.by_layer:
            close = nearest(str(layer), self.layers)
            raise UnknownLayerError(
                f"these features have no layer {layer!r}. They have: {_listed(self.layers)}",
                asked=str(layer),
                nearest=close,
            )
        return self.by_layer[layer]

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers."""
        return tuple(self.by_layer)

    @property
    def values(self) -> LayerArray:
        """Return the array of the only layer: (n, m) float32 for pooled features.

        Raises: UsageError when there is more than one layer, or none because every sample failed.
        """
        if not self.by_layer:
            raise UsageError(f"there are no values: none of the {len(self.errors)} samples could be used. See .errors")
        if len(self.by_layer) > 1:
            raise UsageError(
                f"'.values' is for one layer, and these features have {len(self.by_layer)}: {_listed(self.layers)}. "
                f"Choose one, as in features[{self.layers[0]!r}], or put all side by side with .concat()"
            )
        return next(iter(self.by_layer.values()))

    def concat(self) -> FloatArray:
        """Concatenate all layers: (n, sum of m) float32. Raises: UsageError for layers that are not pooled."""
        raw = [name for name, array in self.by_layer.items() if array.ndim != 2]
        if raw:
            raise UsageError(
                f"only pooled layers can be put side by side, and {_listed(raw)} is not. Extract with pool='mean'"
            )
        return np.concatenate([np.empty((len(self), 0), np.float32), *self.by_layer.values()], axis=1)

    def frame_times_s(self, layer: str) -> tuple[tuple[float, ...], ...]:
        """Return the times of the frames at a layer, in seconds from the start of the recording, for each sample.

        Raises: UnknownLayerError.
        """
        self[layer]
        return self.times_by_layer.get(layer, self.times_s)

    @classmethod
    def join(cls, batches: Iterable[Features]) -> Features:
        """Join batches in order: counts and errors are added, the provenance is that of the first batch.

        Args:
            batches: of the same layers; a batch without samples may have none.
        Raises: UsageError if batches differ in their layers.
        """
        parts = list(batches)
        report: Counter[str] = Counter()
        layers = next((part.layers for part in parts if part.layers), ())
        for part in parts:
            check_same_layers(layers, part)
            report.update(part.report)
        return cls(
            ids=tuple(chain.from_iterable(part.ids for part in parts)),
            by_layer={name: _joined([part.by_layer[name] for part in parts if part.layers]) for name in layers},
            provenance=next((part.provenance for part in parts if part.provenance), {}),
            errors=tuple(error for part in parts for error in part.errors),
            report=dict(report),
            passed_over=tuple(name for part in parts for name in part.passed_over),
            times_s=_joined_times(parts, lambda part: part.times_s),
            start_s=_joined_seconds(parts, lambda part: part.start_s),
            end_s=_joined_seconds(parts, lambda part: part.end_s),
            times_by_layer=_joined_times_by_layer(parts),
        )

    def rows(self, start: int, stop: int) -> Features:
        """Return some of the samples, with the provenance, and without errors and counts. The arrays are views."""
        return Features(
            self.ids[start:stop],
            {name: array[start:stop] for name, array in self.by_layer.items()},
            self.provenance,
            times_s=self.times_s[start:stop],
            start_s=self.start_s[start:stop],
            end_s=self.end_s[start:stop],
            times_by_layer={name: times[start:stop] for name, times in self.times_by_layer.items()},
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a ``.parquet``, ``.npz`` or ``.safetensors`` file, whole or not at all.

        Raises: UsageError for another suffix, OutputError when the file cannot be written, EmptyResultError when
            every sample failed and the file that is there has samples.
        """
        from layerzoo.features.writer import FeatureWriter

        with FeatureWriter(path) as writer:
            writer.write(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Features:
        """Read the features that :meth:`save` or a FeatureWriter wrote.

        Raises: InputError when the file does not exist, is damaged, or holds no features.
        """
        from layerzoo.features.formats import load

        return load(Path(path))

    def __repr__(self) -> str:
        layers = "; ".join(f"{name}: {_shape_text(array)}" for name, array in self.by_layer.items()) or "no layers"
        failed = f"; {len(self.errors)} failed" if self.errors else ""
        return f"<Features of {len(self)} samples; {layers}{failed}>"


def sample_shape(array: LayerArray) -> tuple[int, ...] | None:
    """Return the shape that all samples of a layer have; None when they differ."""
    return None if array.dtype == object else array.shape[1:]


def check_same_layers(layers: Sequence[str], batch: Features) -> None:
    """Refuse a batch with other layers than those before it. One without samples may have none."""
    if set(batch.layers) != set(layers) and (batch.layers or len(batch)):
        raise UsageError(f"batches differ in their layers: {_listed(layers)}, then {_listed(batch.layers)}")


def stacked(samples: Sequence[FloatArray]) -> LayerArray:
    """Return the samples in one array: (n, …) when they have one shape, else (n,) object."""
    return np.stack(samples) if len({sample.shape for sample in samples}) == 1 else ragged(samples)


def ragged(samples: Sequence[FloatArray]) -> LayerArray:
    """A (n,) object array of samples that may differ in shape. (numpy.array would stack some, and refuse others.)"""
    result = np.empty(len(samples), dtype=object)
    for index, sample in enumerate(samples):
        result[index] = sample
    return result


def _normalised(name: str, array: LayerArray, n: int) -> LayerArray:
    """Return the array as float32; samples of one shape are stacked, whatever form they came in."""
    if name in _RESERVED_NAMES or name.startswith(SHAPE_OF):
        raise UsageError(f"a layer cannot be called {name!r}: files of features use that name for something else")
    if array.ndim == 0 or len(array) != n:
        raise UsageError(f"layer {name}: an array of shape {array.shape} for {n} sample(s)")
    if array.dtype != object:
        return np.asarray(array, dtype=np.float32)
    samples = [np.asarray(sample, dtype=np.float32) for sample in array]
    if len({sample.ndim for sample in samples}) > 1:
        raise UsageError(f"layer {name}: the samples differ in the number of their axes")
    return stacked(samples)


def _joined(arrays: Sequence[LayerArray]) -> LayerArray:
    """Return the samples of several arrays in one; Features stacks what turns out to have one shape."""
    if len({sample_shape(array) for array in arrays}) == 1:
        return np.concatenate(arrays)
    return ragged([sample for array in arrays for sample in array])


Times = tuple[tuple[float, ...], ...]


def _joined_times(parts: Sequence[Features], times_of: Callable[[Features], Times]) -> Times:
    """Return the times of all samples; samples of a part without times have none, where another part has some."""
    if not any(map(times_of, parts)):
        return ()
    return tuple(times for part in parts for times in times_of(part) or ((),) * len(part))


def _joined_times_by_layer(parts: Sequence[Features]) -> dict[str, Times]:
    names = dict.fromkeys(chain.from_iterable(part.times_by_layer for part in parts))

    def times_at(name: str, part: Features) -> Times:
        return part.times_by_layer.get(name, ())

    return {name: _joined_times(parts, partial(times_at, name)) for name in names}


def _joined_seconds(
    parts: Sequence[Features], seconds_of: Callable[[Features], tuple[float, ...]]
) -> tuple[float, ...]:
    """Return a time for each sample; that of a part without times is nan, where another part has some."""
    if not any(map(seconds_of, parts)):
        return ()
    return tuple(time for part in parts for time in seconds_of(part) or (math.nan,) * len(part))


def _storable(id: str) -> str:
    """Escape lone surrogates (undecodable bytes of a file name) and NUL in an id: not every format can store them."""
    return id.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _shape_text(array: LayerArray) -> str:
    shape = sample_shape(array)
    return "ragged" if shape is None else "×".join(map(str, shape)) or "1"


def _listed(names: Sequence[str], limit: int = 8) -> str:
    more = f", … ({len(names)} in all)" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + more
