"""Features in memory."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from layerzoo.errors import SampleError, UnknownLayerError, UnknownRowError, UsageError, nearest
from layerzoo.features.origin import joined_provenance, of_layers

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    import torch

FloatArray = npt.NDArray[np.float32]
LayerArray = npt.NDArray[Any]
"""(n, m) float32, (n, …) float32, or (n,) object: n float32 arrays that differ in shape."""

_Value = TypeVar("_Value", int, float)
OfLayer = TypeVar("OfLayer")
Times = tuple[tuple[float, ...], ...]
"""The times of the frames of each sample."""
Rows = slice | Sequence[int] | Sequence[bool] | npt.NDArray[Any]
"""A choice of rows: a slice, their positions, or a mask with one bool for each row."""

SHAPE_OF = "shape of "
INTERVAL = ("start_s", "end_s")
"""The columns of the windows of recordings, in tables."""
_SMALLEST_NORM = 1e-12
"""The smallest divisor of a vector, so that zeros stay zeros, as in torch.nn.functional.normalize."""
_RESERVED_NAMES = frozenset({"id", "row", "error", *INTERVAL, "layerzoo.json", "__metadata__"})
"""Names of the parts of files on disk, which no layer may have."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FeatureRow:
    """The features of one sample. The arrays are views: changing them changes the features they come from."""

    id: str
    """The id of the sample."""
    by_layer: Mapping[str, FloatArray]
    """Per layer (m,) float32; for pool="none" the shape of the sample."""
    times_s: tuple[float, ...] = ()
    """The times of its frames: see :attr:`Features.times_s`."""
    start_s: float | None = None
    """The start of a window in its recording, in seconds."""
    end_s: float | None = None
    """The end of a window in its recording, in seconds."""
    frame_numbers: tuple[int, ...] = ()
    """The numbers of the frames of a video: see :attr:`Features.frame_numbers`."""

    def __getitem__(self, layer: str) -> FloatArray:
        """Return the array of one layer. Raises: UnknownLayerError."""
        return layer_of(self.by_layer, layer)

    @property
    def values(self) -> FloatArray:
        """Return the array of the only layer. Raises: UsageError when there is more than one."""
        return _only_layer(self.by_layer, "row", "'.values'")

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return _as_array(_only_layer(self.by_layer, "row", "numpy.asarray(row)"), dtype, copy)

    def __repr__(self) -> str:
        layers = "; ".join(f"{name}: {_size_text(np.shape(array))}" for name, array in self.by_layer.items())
        return f"<FeatureRow {self.id}; {layers or 'no layers'}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Features:
    """The result of an extraction: for every layer the features of n samples, with their provenance.

    ``features["block.2"]`` is the array of a layer, ``features[0]`` a row, and ``features[10:20]``,
    ``features[[3, 1]]`` or ``features[mask]`` are some of the rows, as features. Iterating yields the rows.
    ``numpy.asarray(features)`` is the array of the only layer, so that estimators take features as they take an array.

    The object cannot be changed. Its arrays are ordinary, writable ones, because some estimators refuse read-only
    input; changing them in place changes these features.

    >>> layerzoo.extract("toy/next-word", ["the cat", "milk"])
    <Features of 2 samples; block.0: 3>
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

    frame_numbers: tuple[tuple[int, ...], ...] = ()
    """For each sample, the numbers of its frames in the video, from 0, in the order of display; for clips, those of
    their first frames. Given with ``times_s`` for videos."""

    def __post_init__(self) -> None:
        arrays = {name: _normalised(name, array, len(self.ids)) for name, array in self.by_layer.items()}
        object.__setattr__(self, "ids", tuple(map(storable, self.ids)))
        object.__setattr__(self, "by_layer", arrays)
        object.__setattr__(self, "errors", tuple(self.errors))
        object.__setattr__(self, "passed_over", tuple(self.passed_over))
        object.__setattr__(self, "times_s", tuple(tuple(map(float, times)) for times in self.times_s))
        object.__setattr__(self, "frame_numbers", tuple(tuple(map(int, row)) for row in self.frame_numbers))
        if self.frame_numbers and len(self.frame_numbers) != len(self.ids):
            raise UsageError(f"frame_numbers: those of {len(self.frame_numbers)} sample(s) for {len(self.ids)}")
        for name in ("start_s", "end_s"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        by_layer = {
            name: tuple(tuple(map(float, sample_times)) for sample_times in times)
            for name, times in self.times_by_layer.items()
        }
        object.__setattr__(self, "times_by_layer", by_layer)
        fields = {"times_s": self.times_s, "start_s": self.start_s, "end_s": self.end_s, **by_layer}
        for name, times in fields.items():
            if times and len(times) != len(self.ids):
                raise UsageError(f"{name}: the times of {len(times)} sample(s) for {len(self.ids)}")
        if bool(self.start_s) != bool(self.end_s):
            raise UsageError("start_s and end_s are given together")

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, key: str) -> LayerArray: ...
    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> FeatureRow: ...
    @overload
    def __getitem__(self, key: list[str] | Rows) -> Features: ...
    def __getitem__(self, key: Any) -> Any:
        """Return the array of a layer, a row, or some of the rows or layers.

        Args:
            key: the name of a layer; the position of a row, where -1 is the last; or, for features: a slice, positions,
                a mask with a bool for each row, or a list of names of layers.
        Raises: UnknownLayerError, UnknownRowError, or UsageError for any other key.
        """
        if isinstance(key, tuple) and key[1:] == (Ellipsis,):  # as scikit-learn selects rows of anything with a shape
            key = key[0]
        if isinstance(key, str):
            return layer_of(self.by_layer, key)
        if _is_position(key):
            return self._row(int(key))
        if isinstance(key, slice):
            try:
                key.indices(len(self))
            except TypeError as error:
                raise UsageError(
                    f"a slice of features has positions, and not {_described(key)}. For several layers: "
                    "features[['block.0', 'block.1']]"
                ) from error
            return self._select_rows(key)
        if isinstance(key, list) and key and all(isinstance(name, str) for name in key):
            return replace(
                self, by_layer={name: self[name] for name in key}, provenance=of_layers(self.provenance, key)
            )
        return self._select_rows(_positions(key, len(self)))

    def __iter__(self) -> Iterator[FeatureRow]:
        """Yield the rows, in order."""
        return map(self._row, range(len(self)))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Return :attr:`values`, for ``numpy.asarray`` and estimators."""
        return _as_array(only_layer(self, "numpy.asarray(features)"), dtype, copy)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of :attr:`values`: (n, m) for pooled features. Raises: as :attr:`values`.

        >>> layerzoo.extract("toy/next-word", ["milk", "meat"]).shape
        (2, 3)
        """
        return only_layer(self, "'.shape'").shape

    def _row(self, position: int) -> FeatureRow:
        n = len(self)
        if not -n <= position < n:
            raise UnknownRowError(f"there is no row {position}: these features have {n:,} rows", asked=str(position))
        arrays = {name: array[position] for name, array in self.by_layer.items()}
        return FeatureRow(
            self.ids[position],
            arrays,
            self.times_s[position] if self.times_s else (),
            self.start_s[position] if self.start_s else None,
            self.end_s[position] if self.end_s else None,
            self.frame_numbers[position] if self.frame_numbers else (),
        )

    def _select_rows(self, key: slice | npt.NDArray[np.intp]) -> Features:
        """Return some of the rows, with the provenance, and without errors and counts."""
        chosen = range(len(self))[key] if isinstance(key, slice) else key.tolist()
        return Features(
            tuple(self.ids[row] for row in chosen),
            {name: array[key] for name, array in self.by_layer.items()},
            self.provenance,
            times_s=tuple(self.times_s[row] for row in chosen) if self.times_s else (),
            frame_numbers=tuple(self.frame_numbers[row] for row in chosen) if self.frame_numbers else (),
            start_s=tuple(self.start_s[row] for row in chosen) if self.start_s else (),
            end_s=tuple(self.end_s[row] for row in chosen) if self.end_s else (),
            times_by_layer={
                name: tuple(times[row] for row in chosen) for name, times in self.times_by_layer.items() if times
            },
        )

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers.

        >>> layerzoo.extract("toy/next-word", ["the cat"], layer=["block.0", "head"]).layers
        ('block.0', 'head')
        """
        return tuple(self.by_layer)

    @property
    def values(self) -> LayerArray:
        """Return the array of the only layer: (n, m) float32 for pooled features.

        Raises: UsageError when there is more than one layer, or none because every sample failed.

        >>> layerzoo.extract("toy/next-word", ["the cat"]).values
        array([[0.5, 1. , 0.5]], dtype=float32)
        """
        return only_layer(self, "'.values'")

    def concat(self) -> FloatArray:
        """Concatenate all layers: (n, sum of m) float32. Raises: UsageError for layers that are not pooled.

        >>> layerzoo.extract("toy/next-word", ["the cat"], layer=["block.0", "head"]).concat().shape
        (1, 11)
        """
        raw = [name for name, array in self.by_layer.items() if array.ndim != 2]
        if raw:
            raise UsageError(
                f"only pooled layers can be put side by side, and {_listed(raw)} is not. Extract with pool='mean'"
            )
        return np.concatenate([np.empty((len(self), 0), np.float32), *self.by_layer.values()], axis=1)

    def frame_times_s(self, layer: str) -> tuple[tuple[float, ...], ...]:
        """Return the times of the frames at a layer, in seconds from the start of the recording, for each sample.

        Args:
            layer: its name, as in :attr:`layers`.
        Returns: for each sample, the time of each position of ``pool="none"``; empty for features without times.
        Raises: UnknownLayerError.

        >>> layerzoo.extract("toy/next-word", ["the cat"]).frame_times_s("block.0")
        ()
        """
        self[layer]
        return self.times_by_layer.get(layer, self.times_s)

    @classmethod
    def join(cls, batches: Iterable[Features]) -> Features:
        """Join batches, or runs over different samples, in order. Counts and errors are added.

        The provenance is that of the first; a run that differs in its versions, device or precision is added to it
        under ``other_runs``. For runs of several models over the same samples, see :meth:`merge`.

        Args:
            batches: of the same layers; a batch without samples may have none.
        Raises: UsageError if batches differ in their layers, model, weights, pooling or prompt.

        >>> parts = [layerzoo.extract("toy/next-word", [text]) for text in ("milk", "meat")]
        >>> layerzoo.Features.join(parts).values.tolist()
        [[-1.0, 0.0, 1.0], [-1.0, 0.0, -1.0]]
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
            provenance=reduce(joined_provenance, (part.provenance for part in parts), {}),
            errors=tuple(error for part in parts for error in part.errors),
            report=dict(report),
            passed_over=tuple(name for part in parts for name in part.passed_over),
            frame_numbers=_joined_frames(parts, lambda part: part.frame_numbers),
            times_s=_joined_frames(parts, lambda part: part.times_s),
            start_s=_joined_seconds(parts, lambda part: part.start_s),
            end_s=_joined_seconds(parts, lambda part: part.end_s),
            times_by_layer=_joined_times_by_layer(parts),
        )

    @classmethod
    def merge(cls, runs: Mapping[str, Features] | Iterable[Features]) -> Features:
        """Put the layers of several runs over the same samples side by side.

        Rows are matched by id; windows of recordings also by their start and end. A sample that is missing in
        one of the runs is left out, and is among the errors.

        Args:
            runs: names and features, where a layer ``norm`` of the run ``vit`` becomes ``vit/norm``; or features alone,
                whose layers have different names.
        Returns: features with the order of the first run, and the provenance of each run under ``merged``.
        Raises: UsageError if two layers have the same name, or ids occur twice and the runs differ in their ids.

        >>> runs = {layer: layerzoo.extract("toy/next-word", ["milk"], layer=layer) for layer in ("block.0", "head")}
        >>> layerzoo.Features.merge({"early": runs["block.0"], "late": runs["head"]}).layers
        ('early/block.0', 'late/head')
        """
        named_runs = dict(runs) if isinstance(runs, Mapping) else {str(number): run for number, run in enumerate(runs)}
        prefixes = {name: f"{name}/" if isinstance(runs, Mapping) else "" for name in named_runs}
        aligned, missing = _aligned(named_runs)
        by_layer: dict[str, LayerArray] = {}
        times_s = next((run.times_s for run in aligned.values() if run.times_s), ())
        times_by_layer: dict[str, Times] = {}
        for name, run in aligned.items():
            for layer, array in run.by_layer.items():
                if (merged := f"{prefixes[name]}{layer}") in by_layer:
                    raise UsageError(
                        f"two runs have a layer {merged!r}. Name the runs, as in Features.merge({{'a': …, 'b': …}})"
                    )
                by_layer[merged] = array
                if (times := run.frame_times_s(layer)) and times != times_s:
                    times_by_layer[merged] = times
        errors = {(error.id, error.reason): error for run in named_runs.values() for error in run.errors}
        failed = {error.id for error in errors.values()}
        return cls(
            ids=next((run.ids for run in aligned.values()), ()),
            by_layer=by_layer,
            provenance={"merged": {name: dict(run.provenance) for name, run in named_runs.items()}},
            errors=(*errors.values(), *(error for error in missing if error.id not in failed)),
            frame_numbers=next((run.frame_numbers for run in aligned.values() if run.frame_numbers), ()),
            times_s=times_s,
            start_s=next((run.start_s for run in aligned.values()), ()),
            end_s=next((run.end_s for run in aligned.values()), ()),
            times_by_layer=times_by_layer,
        )

    def normalized(self) -> Features:
        """Return features whose vectors are divided by their length, as ``extract(normalize=True)`` does.

        The dot product of two vectors is then their cosine similarity. Vectors of zeros stay zeros.
        Raises: UsageError for layers that are not pooled, whose channel axis is not known here.

        >>> layerzoo.extract("toy/next-word", ["the"]).normalized().values.tolist()
        [[1.0, 0.0, 0.0]]
        """
        if raw := [name for name, array in self.by_layer.items() if array.ndim != 2]:
            raise UsageError(
                f"{_listed(raw)} is not pooled, and its channel axis is not known here. Extract with normalize=True"
            )
        unit = {name: unit_vectors(array, 1) for name, array in self.by_layer.items()}
        pooled_by_run = {"normalize": True} if "normalize" in self.provenance else {"normalized": True}
        return replace(self, by_layer=unit, provenance={**self.provenance, **pooled_by_run})

    def to_pandas(self) -> pandas.DataFrame:
        """Return a ``pandas.DataFrame`` with the ids as its index.

        Columns: for the windows of recordings ``start_s`` and ``end_s``, in seconds; ``LAYER_0``, ``LAYER_1``, … for
        each pooled layer; a layer that is not pooled is one column of arrays, and ``times_s`` has the times of its
        frames (``LAYER_times_s`` where layers differ in these).
        Raises: MissingLibraryError without pandas.

        >>> layerzoo.extract("toy/next-word", ["milk"]).to_pandas().shape
        (1, 3)
        """
        from layerzoo.features.convert import pandas_frame

        return pandas_frame(self)

    def to_polars(self) -> polars.DataFrame:
        """Return a ``polars.DataFrame`` with the columns of :meth:`to_arrow`; vectors are of the type ``Array``.

        Raises: MissingLibraryError without polars.

        >>> layerzoo.extract("toy/next-word", ["milk"]).to_polars().columns
        ['id', 'block.0']
        """
        from layerzoo.features.convert import polars_frame

        return polars_frame(self)

    def to_arrow(self) -> pyarrow.Table:
        """Return a ``pyarrow.Table`` with the columns of a Parquet file of features.

        Columns: ``id`` (string); for the windows of recordings ``start_s`` and ``end_s`` (float64, in seconds); and one
        per layer: ``fixed_size_list<float32>[m]`` for vectors, else a struct of ``values`` (the numbers in C order) and
        ``shape``. Next to layers that are not pooled, ``times_s`` has the times of the frames (``LAYER_times_s`` where
        layers differ in these); in a file they are part of the metadata.

        >>> layerzoo.extract("toy/next-word", ["milk"]).to_arrow().column_names
        ['id', 'block.0']
        """
        from layerzoo.features.convert import arrow_table

        return arrow_table(self)

    def to_torch(self, layer: str | None = None) -> torch.Tensor:
        """Return a ``torch.Tensor`` (n, …) float32 that shares the memory of a layer.

        Args:
            layer: the name of the layer. None: the only one.
        Raises: UnknownLayerError; UsageError for samples that differ in shape, or without a name if there are several
            layers; MissingLibraryError without torch.

        >>> layerzoo.extract("toy/next-word", ["milk"]).to_torch().shape
        torch.Size([1, 3])
        """
        from layerzoo.features.convert import torch_tensor

        return torch_tensor(self, layer)

    def rows(self, start: int, stop: int) -> Features:
        """Return some of the samples, with the provenance, and without errors and counts. The arrays are views.

        >>> layerzoo.extract("toy/next-word", ["milk", "meat"]).rows(1, 2).values.tolist()
        [[-1.0, 0.0, -1.0]]
        """
        return self._select_rows(slice(start, stop))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a ``.parquet``, ``.npz`` or ``.safetensors`` file, whole or not at all.

        For programs that read nothing else, a ``.csv`` file holds the ids, the times of windows and the vectors, and a
        ``.npy`` file the array of the only layer. Neither has provenance or digests, and :meth:`load` does not read
        them.

        Args:
            path: the file to write.
        Raises: UsageError for another suffix, or layers that the format cannot hold; OutputError when the file cannot
            be written, EmptyResultError when every sample failed and the file that is there has samples.

        >>> layerzoo.extract("toy/next-word", ["milk"]).save("milk.safetensors")
        """
        from layerzoo.features.writer import FeatureWriter

        with FeatureWriter(path) as writer:
            writer.write(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, layers: Sequence[str] | None = None) -> Features:
        """Read the features that :meth:`save` or a FeatureWriter wrote, or those of a run.

        Args:
            path: a file, or the folder of a finished run: see :func:`layerzoo.run`.
            layers: the layers to read, in this order. The others are neither read nor checked. None: all of them.
        Raises: InputError when the file does not exist, is damaged, or holds no features; UnknownLayerError;
            UnfinishedRunError when parts of a run are missing.

        >>> layerzoo.extract("toy/next-word", ["milk"]).save("milk.parquet")
        >>> layerzoo.Features.load("milk.parquet").values.tolist()
        [[-1.0, 0.0, 1.0]]
        """
        from layerzoo.features.formats import load

        return load(Path(path), layers)

    def __repr__(self) -> str:
        layers = "; ".join(f"{name}: {_shape_text(array)}" for name, array in self.by_layer.items()) or "no layers"
        failed = f"; {len(self.errors)} failed" if self.errors else ""
        return f"<Features of {sample_count(self)}; {layers}{failed}>"

    def _repr_html_(self) -> str:
        """Return a table for a notebook."""
        from layerzoo.features.convert import html

        return html(self)


def sample_count(features: Features) -> str:
    """Return the number of samples in words: ``1 sample``, ``2,000 samples``."""
    return f"{len(features):,} sample{'' if len(features) == 1 else 's'}"


def column_names(layer: str, width: int) -> list[str]:
    """Return the names of the columns of a pooled layer in a table of numbers."""
    return [f"{layer}_{number}" for number in range(width)]


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


def layer_of(by_layer: Mapping[str, OfLayer], layer: str) -> OfLayer:
    """Return the entry of a layer. Raises: UnknownLayerError."""
    if layer not in by_layer:
        names = tuple(by_layer)
        raise UnknownLayerError(
            f"these features have no layer {layer!r}. They have: {_listed(names)}",
            asked=str(layer),
            nearest=nearest(str(layer), names),
        )
    return by_layer[layer]


def only_layer(features: Features, caller: str) -> LayerArray:
    """Return the array of the only layer, for a method that takes one.

    Args:
        features: of one layer.
        caller: the method, for messages.
    Raises: UsageError when there is more than one layer, or none.
    """
    if not features.by_layer and features.errors:
        raise UsageError(f"there are no values: none of the {len(features.errors)} samples could be used. See .errors")
    return _only_layer(features.by_layer, "features", caller)


def _only_layer(by_layer: Mapping[str, LayerArray], variable: str, caller: str) -> LayerArray:
    """Return the array of the only layer. Raises: UsageError."""
    names = tuple(by_layer)
    if not names:
        raise UsageError("there are no values: these features have no layers")
    if len(names) > 1:
        joined = ", or put all side by side with .concat()" if variable == "features" else ""
        raise UsageError(
            f"{caller} is for one layer, and these features have {len(names)}: {_listed(names)}. "
            f"Choose one, as in {variable}[{names[0]!r}]{joined}"
        )
    return by_layer[names[0]]


def _as_array(array: npt.NDArray[Any], dtype: npt.DTypeLike | None, copy: bool | None) -> npt.NDArray[Any]:
    """Return an array for ``__array__``, whose arguments these are."""
    result = array if dtype is None else array.astype(dtype, copy=False)
    if copy is False and result is not array:
        raise ValueError(f"features are {array.dtype}, and cannot be {np.dtype(dtype)} without a copy")
    return result.copy() if copy and result is array else result


def _is_position(key: Any) -> bool:
    """Return whether a key is the position of a row. A bool is not, although Python can use it as one."""
    return hasattr(type(key), "__index__") and not isinstance(key, bool | np.bool_) and np.ndim(key) == 0


def _positions(key: Any, n: int) -> npt.NDArray[np.intp]:
    """Return the positions of rows that a list of positions or a mask selects. Raises: UsageError, UnknownRowError."""
    array = np.empty((), dtype=object)
    if not isinstance(key, tuple):  # to numpy, a tuple is a position along several axes
        with suppress(TypeError, ValueError):
            array = np.asarray(key)
    if array.ndim == 1 and array.size == 0 and array.dtype != bool:
        return np.empty(0, np.intp)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise UsageError(
            f"features are indexed by the name of a layer, a position, a slice, positions or a mask of bools, and not "
            f"by {_described(key)}. For a layer of some rows: features[rows][layer]"
        )
    if array.dtype == bool:
        if len(array) != n:
            raise UsageError(f"a mask of {len(array):,} bools for {n:,} rows")
        return np.flatnonzero(array)
    outside = array[(array < -n) | (array >= n)]
    if outside.size:
        raise UnknownRowError(f"there is no row {outside[0]}: these features have {n:,} rows", asked=str(outside[0]))
    return array.astype(np.intp)


def _described(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 60 else f"an object of type {type(key).__name__}"


def _aligned(runs: Mapping[str, Features]) -> tuple[dict[str, Features], list[SampleError]]:
    """Return the runs with the rows that all of them have, in the order of the first, and the other samples."""
    keys = {name: _row_keys(run) for name, run in runs.items()}
    first = next(iter(keys.values()), [])
    if all(run_keys == first for run_keys in keys.values()):
        return dict(runs), []
    positions = {name: {key: row for row, key in enumerate(rows)} for name, rows in keys.items()}
    for name, rows in keys.items():
        if len(positions[name]) < len(rows):
            twice = Counter(rows).most_common(1)[0][0][0]
            raise UsageError(
                f"the runs differ in their ids, and {twice!r} occurs twice in one of them, so that rows cannot be "
                "matched. Extract with ids=[…], a different one for each sample"
            )
    absent = {
        key: next((name for name, row_numbers in positions.items() if key not in row_numbers), None)
        for rows in keys.values()
        for key in rows
    }
    shared = [key for key, name in absent.items() if name is None]
    missing = [SampleError(key[0], f"no features in run {name}") for key, name in absent.items() if name is not None]
    chosen = {name: np.array([row_numbers[key] for key in shared], np.intp) for name, row_numbers in positions.items()}
    return {name: run._select_rows(chosen[name]) for name, run in runs.items()}, missing


def _row_keys(features: Features) -> list[tuple[str, float | None, float | None]]:
    """Return the id of each row, and the start and end of a window."""
    unknown = (None,) * len(features)
    return list(zip(features.ids, features.start_s or unknown, features.end_s or unknown, strict=True))


def unit_vectors(array: FloatArray, axis: int) -> FloatArray:
    """Divide vectors along an axis by their length."""
    lengths = np.linalg.norm(array.astype(np.float64), axis=axis, keepdims=True)
    unit: FloatArray = (array / np.maximum(lengths, _SMALLEST_NORM)).astype(np.float32)
    return unit


def _normalised(name: str, array: LayerArray, n: int) -> LayerArray:
    """Return the array as float32; samples of one shape are stacked."""
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
    """Return the samples of several arrays in one; Features stacks those of one shape."""
    if len({sample_shape(array) for array in arrays}) == 1:
        return np.concatenate(arrays)
    return ragged([sample for array in arrays for sample in array])


def _joined_frames(
    parts: Sequence[Features], values_of: Callable[[Features], tuple[tuple[_Value, ...], ...]]
) -> tuple[tuple[_Value, ...], ...]:
    """Return the values of the frames of all samples, such as their times.

    Samples of a part without values have none, where another part has some.
    """
    if not any(map(values_of, parts)):
        return ()
    return tuple(values for part in parts for values in values_of(part) or ((),) * len(part))


def _joined_times_by_layer(parts: Sequence[Features]) -> dict[str, Times]:
    names = dict.fromkeys(chain.from_iterable(part.times_by_layer for part in parts))

    def times_at(name: str, part: Features) -> Times:
        return part.times_by_layer.get(name, ())

    return {name: _joined_frames(parts, partial(times_at, name)) for name in names}


def _joined_seconds(
    parts: Sequence[Features], seconds_of: Callable[[Features], tuple[float, ...]]
) -> tuple[float, ...]:
    """Return a time for each sample; that of a part without times is nan, where another part has some."""
    if not any(map(seconds_of, parts)):
        return ()
    return tuple(time for part in parts for time in seconds_of(part) or (math.nan,) * len(part))


def storable(text: str) -> str:
    """Escape lone surrogates (undecodable bytes of a file name) and NUL in a text: not every format can store them."""
    if text.isascii() and "\0" not in text:  # there may be millions
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _shape_text(array: LayerArray) -> str:
    shape = sample_shape(array)
    return "ragged" if shape is None else _size_text(shape)


def _size_text(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "1"


def _listed(names: Sequence[str], limit: int = 8) -> str:
    more = f", … ({len(names)} in all)" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + more
