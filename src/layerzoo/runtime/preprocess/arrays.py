"""Inputs that are arrays as a network takes them, and those that a callable of the user makes from raw samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import InputError, SampleError
from layerzoo.media import dataset, text
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.sample import Sample, UnusableError
from layerzoo.media.samples import Item, Samples, with_ids
from layerzoo.runtime.axes import Enlargement
from layerzoo.runtime.batch import Batch, InputRow
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor
from layerzoo.runtime.preprocess.image import ImagePreprocessor, row_of, shapes_of
from layerzoo.spec import ImagePreprocess, Modality

INPUT = "input"
"""The name of the only input of a network, which is passed by position."""

Arrays = Mapping[str, NDArray[Any]]
"""The arrays of one sample, by the name of the network's argument, without the batch axis."""


class ArrayPreprocessor(Preprocessor):
    """Take arrays and tensors as the network takes them, without any preprocessing.

    Inputs are a batch (one array, or a mapping of arrays by the names of the network's arguments), a list of samples
    without the batch axis, a torch Dataset or a DataLoader.

    Args:
        modality: of the network's input: its axes are enlarged and named accordingly.
        example: the arrays of one sample.
    """

    def __init__(self, modality: Modality, example: Arrays) -> None:
        self.modality = modality
        self.sequence_axis = "time" if modality == "audio" else "token"
        self._example = example

    def samples(self, inputs: Any, *, ids: Iterable[str] | None = None, **options: Any) -> Samples:
        if isinstance(inputs, str | bytes | os.PathLike):
            raise InputError(
                "this network takes arrays, and not files: pass arrays or tensors as the network takes them, or "
                "layerzoo.wrap(…, preprocess=…)"
            )
        unused = [name for name in ("column", "layout", "value_range") if options.get(name) is not None]
        if unused or isinstance(ids, str):
            option = unused[0] if unused else "ids"
            raise InputError(f"{option}= is for raw samples, and this network takes arrays: see layerzoo.wrap")
        if dataset.is_loader(inputs):
            values: Iterable[Any] = map(_first, dataset.items_of_batches(inputs))
        elif dataset.is_dataset(inputs):
            values = map(_first, dataset.items(inputs))
        elif self._is_batch(inputs):
            values = self._rows_of_batch(inputs)
        elif self._is_sample(inputs):
            values = [inputs]
        elif isinstance(inputs, Iterable) and not isinstance(inputs, Mapping):
            values = inputs
        else:
            raise InputError(f"cannot read inputs of type {type(inputs).__name__}: this network takes {self._expected}")
        items = _items(values, ids)
        first = next(items, None)
        if first is None:
            raise InputError("no samples: the inputs are empty")
        return Samples(chain([first], items), [])

    def rows(self, source: Any, decoder: Decoder = IN_PROCESS) -> Prepared:
        arrays = self._by_name(source)
        if missing := self._example.keys() - arrays.keys():
            raise SampleError("array", f"no {', '.join(sorted(missing))}: this network takes {self._expected}")
        inputs = {name: self._array(name, arrays[name]) for name in self._example}
        return Prepared([InputRow(inputs)])

    def bucket(self, row: InputRow) -> Any:
        return shapes_of(row)

    def example(self, count: int, enlargement: Enlargement | None = None) -> Batch | None:
        axes = self._enlarged_axes(enlargement)
        if axes is None:
            return None
        main = next(iter(self._example.values())).shape
        inputs = {}
        for name, array in self._example.items():
            for axis in axes:
                if array.ndim >= -axis and array.shape[axis] == main[axis]:
                    array = array.repeat(2, axis=axis)
            inputs[name] = array
        return self.collate([InputRow(inputs)] * count)

    def _enlarged_axes(self, enlargement: Enlargement | None) -> tuple[int, ...] | None:
        """Return the axes of a sample, from the last, that an enlargement doubles; None where it has no such axis."""
        if enlargement is None:
            return ()
        main = next(iter(self._example.values()))
        if self.modality in ("vision", "video"):
            if main.ndim < 2:  # a vector: only the batch grows
                return () if enlargement == "all" else None
            return {"all": (-2, -1), "height": (-2,), "width": (-1,)}.get(enlargement)
        if main.ndim < 1:
            return None
        return (-1,) if enlargement in ("all", "length") else None

    @property
    def _expected(self) -> str:
        shapes = [
            f"{'' if name == INPUT else f'{name} '}({', '.join(map(str, array.shape))}{',' * (array.ndim == 1)}) "
            f"{array.dtype}"
            for name, array in self._example.items()
        ]
        return f"arrays like the example, {' and '.join(shapes)} per sample"

    def _by_name(self, source: Any) -> Mapping[str, Any]:
        if isinstance(source, Mapping):
            return source
        if len(self._example) == 1:
            return {next(iter(self._example)): source}
        if isinstance(source, tuple | list) and len(source) == len(self._example):
            return dict(zip(self._example, source, strict=True))
        raise SampleError("array", f"a {type(source).__name__}: this network takes {self._expected}, by their names")

    def _array(self, name: str, value: Any) -> NDArray[Any]:
        like = self._example[name]
        try:
            array = as_array(value)
            if array.ndim != like.ndim:
                raise SampleError("array", f"{array.shape}: this network takes {self._expected}")
            if like.dtype.kind in "iub" and array.dtype.kind == "f":
                raise SampleError("array", f"numbers of type {array.dtype}: this network takes {self._expected}")
            if self.modality != "text" and like.dtype.kind == "f" and array.dtype.kind in "iu" and is_array(value):
                raise SampleError(
                    "array",
                    f"integers of type {str(value.dtype).removeprefix('torch.')}: this network takes {self._expected}. "
                    "Next: scale them as in its training, such as values / 255, or give wrap() a preprocess",
                )
            return array.astype(like.dtype, copy=False)
        except (TypeError, ValueError) as error:
            raise SampleError("array", f"a {type(value).__name__}: this network takes {self._expected}") from error

    def _is_batch(self, inputs: Any) -> bool:
        """Return whether the inputs are arrays with one axis more than a sample."""
        arrays = inputs if isinstance(inputs, Mapping) else {INPUT: inputs}
        if isinstance(inputs, tuple) and len(inputs) == len(self._example) > 1:
            arrays = dict(zip(self._example, inputs, strict=True))
        if len(self._example) == 1 and not isinstance(inputs, Mapping):
            arrays = {next(iter(self._example)): inputs}
        pairs: list[tuple[Any, NDArray[Any]]] = [(arrays.get(name), like) for name, like in self._example.items()]
        return all(is_array(value) and value.ndim == like.ndim + 1 for value, like in pairs)

    def _is_sample(self, inputs: Any) -> bool:
        return is_array(inputs) or isinstance(inputs, Mapping)

    def _rows_of_batch(self, inputs: Any) -> Iterator[Any]:
        if is_array(inputs):
            yield from inputs
            return
        arrays = inputs if isinstance(inputs, Mapping) else dict(zip(self._example, inputs, strict=True))
        columns = {name: arrays[name] for name in self._example}
        sizes = {name: len(column) for name, column in columns.items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise InputError(f"the arrays of a batch have one number of rows, and these differ: {listed}")
        for row in zip(*columns.values(), strict=True):
            yield dict(zip(columns, row, strict=True))


class TokenizedPreprocessor(ArrayPreprocessor):
    """Tokenize texts with a callable of the user. Only texts of one length share a batch, so nothing is padded.

    Args:
        tokenize: from a text to the arrays of one sample.
    """

    def __init__(self, tokenize: Callable[[str], Arrays]) -> None:
        super().__init__("text", tokenize(_EXAMPLE_TEXT))
        self._tokenize = tokenize

    def samples(self, inputs: Any, **options: Any) -> Samples:
        return Preprocessor.samples(self, inputs, **options)

    def rows(self, source: Any, decoder: Decoder = IN_PROCESS) -> Prepared:
        if isinstance(source, str | bytes):
            return Prepared([InputRow(self._tokenize(text.decode(source)))])
        return super().rows(source, decoder)


_EXAMPLE_TEXT = "the cat sat on the mat and looked at the dog"


class TransformedImagePreprocessor(ImagePreprocessor):
    """Convert images with a callable of the user. A tensor of the caller counts as converted."""

    def _ready(self, tensor: Any) -> NDArray[np.float32]:
        array = np.asarray(as_array(tensor), dtype=np.float32)
        expected = next(iter(self._example.inputs.values())).shape
        if array.ndim != len(expected):
            raise SampleError("tensor", f"a preprocessed image has the shape {expected}, and this is {array.shape}")
        return array


class Transform:
    """A callable of the user, whose result is converted to the arrays of one sample.

    Args:
        function: from a raw sample to an array, a tensor, or a mapping of them, in which a leading axis of one sample
            is dropped.
        accepted: the names of the arguments that the network takes; None for any.
    """

    def __init__(self, function: Callable[[Any], Any], accepted: frozenset[str] | None = None) -> None:
        self.function = function
        self.accepted = accepted

    def __call__(self, sample: Any) -> Arrays:
        result = self.function(sample)
        if not isinstance(result, Mapping):
            result = getattr(result, "ids", result)  # of the library tokenizers
            return {INPUT: as_array(result)}
        names = [name for name in result if self.accepted is None or name in self.accepted] or list(result)[:1]
        arrays = {name: _without_batch(as_array(result[name])) for name in names}
        return arrays if len(arrays) > 1 else {INPUT: next(iter(arrays.values()))}


class ImageTransform(Transform):
    """A callable from an RGB image of Pillow to a converted image, as the hook ``layerzoo_preprocess`` returns it."""

    def __call__(self, sample: Any) -> Any:
        arrays = super().__call__(sample)
        if len(arrays) > 1:
            from layerzoo.media.inputs import ImageInputs

            return ImageInputs(arrays)
        (array,) = arrays.values()
        return array[0] if array.ndim == 4 and len(array) == 1 else array


class AudioTransform(Transform):
    """A callable from float32 samples to the input of a network, as the hook ``layerzoo_preprocess`` returns it."""

    def __call__(self, sample: Any) -> Any:
        arrays = super().__call__(sample)
        return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def transformed_images(function: Callable[[Any], Any], accepted: frozenset[str] | None) -> TransformedImagePreprocessor:
    """Return the preprocessing of images by a callable of the user: a transform of torchvision, timm or its own.

    Raises: whatever the callable raises for an image.
    """
    from layerzoo.runtime.preprocess.image import example_image

    transform = ImageTransform(function, accepted)
    square, wide = (row_of(transform(example_image(size))) for size in ((256, 256), (256, 320)))
    shape = next(iter(square.inputs.values())).shape
    declared = ImagePreprocess(
        size_px=(shape[-2], shape[-1]) if len(shape) > 2 else (256, 256),
        resize="none",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        processor=name_of(function),
        variable_size=shapes_of(square) != shapes_of(wide),
    )
    return TransformedImagePreprocessor(declared, transform)


def name_of(function: Any) -> str:
    """Return the qualified name of a callable, or of its class."""
    owner = function if hasattr(function, "__qualname__") else type(function)
    return f"{owner.__module__}.{owner.__qualname__}"


def is_array(value: Any) -> bool:
    """Return whether a value is an array or a tensor."""
    return isinstance(value, np.ndarray) or dataset.is_tensor(value)


def as_array(value: Any) -> NDArray[Any]:
    """Convert an array, a tensor, a number or a list to an array. Raises: TypeError or ValueError for other values."""
    if dataset.is_tensor(value):
        value = dataset.to_numpy(value)
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"a {type(value).__name__} is not an array of numbers")
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    return array.astype(np.int64, copy=False) if array.dtype.kind in "iu" and array.dtype.itemsize < 8 else array


def _without_batch(array: NDArray[Any]) -> NDArray[Any]:
    return array[0] if array.ndim > 1 and len(array) == 1 else array


def _first(item: Any) -> Any:
    """Return the sample of a dataset's item, which may be a pair of a sample and a label."""
    return item[0] if isinstance(item, tuple | list) and item else item


def _items(values: Iterable[Any], ids: Iterable[str] | None) -> Iterator[Item]:
    for position, (sample_id, value) in enumerate(with_ids(values, ids)):
        name = str(position) if sample_id is None else sample_id
        if isinstance(value, SampleError):
            yield value
        elif isinstance(value, UnusableError):
            yield SampleError(name, str(value))
        else:
            yield Sample(name, value)


__all__ = [
    "INPUT",
    "ArrayPreprocessor",
    "Arrays",
    "AudioTransform",
    "TokenizedPreprocessor",
    "Transform",
    "as_array",
    "is_array",
    "name_of",
    "transformed_images",
]
