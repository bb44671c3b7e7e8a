"""Inputs that are arrays as a network takes them, and those that a callable of the user makes from raw samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import EmptySampleError, InputError, SampleError, UsageError
from layerzoo.media import dataset, text
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.inputs import AudioInputs, ImageInputs
from layerzoo.media.sample import Sample, UnusableError
from layerzoo.media.samples import Item, Samples, with_ids
from layerzoo.runtime.axes import Enlargement
from layerzoo.runtime.batch import Batch, InputRow, collate
from layerzoo.runtime.preprocess.base import Prepared, Preprocessor, as_float32, check_real
from layerzoo.runtime.preprocess.image import ImagePreprocessor, row_of, shapes_of
from layerzoo.runtime.preprocess.masks import (
    PIXEL_MASK,
    ValidRange,
    check_padding,
    is_mask_name,
    mask_name,
    valid_range,
)
from layerzoo.spec import ImagePreprocess, Modality

INPUT = "input"
"""The name of the only input of a network, which is passed by position."""

Arrays = Mapping[str, NDArray[Any]]
"""The arrays of one sample, by the name of the network's argument, without the batch axis."""


class ArrayPreprocessor(Preprocessor):
    """Take arrays and tensors as the network takes them, without any preprocessing.

    Inputs are a batch (one array, or a mapping of arrays by the names of the network's arguments), a list of samples
    without the batch axis, a torch Dataset or a DataLoader.

    Padding is excluded from all poolings where an attention mask among the arrays shows it: see
    :mod:`layerzoo.runtime.preprocess.masks`.

    Args:
        modality: of the network's input: its axes are enlarged and named accordingly.
        example: the arrays of one sample.
        as_mapping: whether the network takes all arrays as one argument, a mapping.
    """

    frame_hop: tuple[int, int] | None = None
    """Length and hop of a frame of the network in positions, if known."""

    def __init__(self, modality: Modality, example: Arrays, *, as_mapping: bool = False) -> None:
        self.modality = modality
        self.sequence_axis = "time" if modality == "audio" else "token"
        self.as_mapping = as_mapping
        self._example = example
        self._mask = mask_name(example)
        self._takes_tokens = modality == "text" and self._main.ndim == 1
        self.variable_length = self._takes_tokens or self._mask is not None

    def samples(self, inputs: Any, *, ids: Iterable[str] | None = None, **options: Any) -> Samples:
        if isinstance(inputs, str | bytes | os.PathLike):
            raise InputError(
                "this network takes arrays, and not files: pass arrays or tensors as the network takes them, or "
                "layerzoo.wrap(…, preprocess=…)"
            )
        inputs = self._named(inputs)
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

    def _named(self, inputs: Any) -> Any:
        """Return a batch or a sample with its arrays by their names in the example; others as they are.

        Raises: InputError for further arrays, which the network would have to take.
        """
        if self.as_mapping and isinstance(inputs, Mapping | tuple) and len(inputs) == 1:
            (value,) = inputs.values() if isinstance(inputs, Mapping) else inputs
            return value if isinstance(value, Mapping) else inputs
        if not isinstance(inputs, Mapping):
            return inputs
        if self._example.keys() == {INPUT} and len(inputs) == 1:
            return {INPUT: next(iter(inputs.values()))}
        is_unnamed = self._example.keys() == {INPUT} and INPUT not in inputs
        further = [name for name in inputs if name not in self._example and (is_unnamed or is_mask_name(name))]
        if further:
            example = ", ".join(f"'{name}': …" for name in inputs)
            raise InputError(
                f"the network was traced without the inputs {', '.join(further)}: it takes {self._expected}. Next: "
                f"layerzoo.wrap(module, example={{{example}}})"
            )
        return inputs

    def rows(self, source: Any, decoder: Decoder = IN_PROCESS) -> Prepared:
        arrays = self._by_name(self._named(source))
        if missing := self._example.keys() - arrays.keys():
            raise SampleError("array", f"no {', '.join(sorted(missing))}: this network takes {self._expected}")
        inputs = {name: self._array(name, arrays[name]) for name in self._example}
        return Prepared([self._row(inputs)])

    def _row(self, inputs: Arrays, mask: NDArray[Any] | None = None) -> InputRow:
        """Return the row of a sample.

        Args:
            inputs: the arrays of the network.
            mask: an attention mask that the network does not take; None without one.
        Raises: SampleError for padding that pooling cannot exclude.
        """
        name = self._mask or "attention_mask"
        mask = inputs[name] if self._mask is not None else mask
        length = self._positions(inputs)
        positions = ValidRange(length, length) if mask is None or not self.variable_length else valid_range(name, mask)
        check_padding(inputs, positions)
        row = InputRow(inputs, valid=positions.valid, total=positions.total, offset=positions.offset)
        pixels = inputs.get(PIXEL_MASK)
        return row if pixels is None or pixels.ndim != 2 else replace(row, image_mask=pixels.astype(bool))

    def _positions(self, inputs: Arrays) -> int:
        """Return the number of positions of a sample; 1 where samples do not differ in length."""
        if not self.variable_length:
            return 1
        length = len(inputs[self._mask]) if self._mask is not None else len(next(iter(inputs.values())))
        if length == 0:
            raise EmptySampleError("array", f"it is empty: this network takes {self._expected}")
        return length

    @property
    def _main(self) -> NDArray[Any]:
        """The first array of the example that is not a mask."""
        return next((array for name, array in self._example.items() if not is_mask_name(name)), np.zeros(0))

    def collate(self, rows: Sequence[InputRow]) -> Batch:
        batch = collate(rows, masked=self.variable_length)
        return replace(batch, frame_hop=self.frame_hop, as_mapping=self.as_mapping)

    def bucket(self, row: InputRow) -> Any:
        return shapes_of(row)

    def example(self, count: int, enlargement: Enlargement | None = None) -> Batch | None:
        axes = self._enlarged_axes(enlargement)
        if axes is None:
            return None
        main = self._main.shape
        inputs = {}
        for name, array in self._example.items():
            for axis in axes:
                if array.ndim >= -axis and array.shape[axis] == main[axis]:
                    array = array.repeat(2, axis=axis)
            inputs[name] = array
        length = self._positions(inputs)
        return self.collate([InputRow(inputs, valid=length, total=length)] * count)

    def _enlarged_axes(self, enlargement: Enlargement | None) -> tuple[int, ...] | None:
        """Return the axes of a sample, from the last, that an enlargement doubles; None where it has no such axis."""
        if enlargement is None:
            return ()
        main = self._main
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
        raise SampleError(
            "array", f"an object of type {type(source).__name__}: this network takes {self._expected}, by their names"
        )

    def _array(self, name: str, value: Any) -> NDArray[Any]:
        like = self._example[name]
        try:
            array = as_array(value)
            if array.ndim != like.ndim:
                raise SampleError("array", f"{array.shape}: this network takes {self._expected}")
            if like.dtype.kind != "c":
                check_real(array)
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
            raise SampleError(
                "array", f"an object of type {type(value).__name__}: this network takes {self._expected}"
            ) from error

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
    """Tokenize texts with a callable of the user. Only texts of one length share a batch, so nothing is padded here.

    Padding by the callable is excluded from poolings if it returns an attention mask.

    Args:
        tokenize: from a text to the arrays of one sample.
        cls_token: the id of the classification token; None: any token before every text is one.
    """

    def __init__(self, tokenize: Transform, cls_token: int | None = None) -> None:
        super().__init__("text", tokenize(_EXAMPLE_TEXT))
        self._tokenize = tokenize
        self.knows_special_tokens = self._special_tokens is not None
        prefix = self._special_tokens[0] if self._special_tokens else ()
        self.cls_token = bool(prefix) and cls_token in (None, prefix[0])

    def samples(self, inputs: Any, **options: Any) -> Samples:
        return Preprocessor.samples(self, inputs, **options)

    def rows(self, source: Any, decoder: Decoder = IN_PROCESS) -> Prepared:
        if isinstance(source, str | bytes):
            return Prepared([self._with_special(self._tokenized(text.decode(source)))])
        return super().rows(source, decoder)

    def _tokenized(self, checked: str) -> InputRow:
        return self._row(*self._tokenize.apply(checked))

    def _with_special(self, row: InputRow) -> InputRow:
        """Return a row with the number of special tokens at both ends of its text."""
        if not self._special_tokens:
            return row
        prefix, suffix = self._special_tokens
        ids = self._ids(row)
        begins = ids[: len(prefix)] == prefix
        ends = ids[len(ids) - len(suffix) :] == suffix and len(ids) >= begins * len(prefix) + len(suffix)
        return replace(row, special=(begins * len(prefix), ends * len(suffix)))

    @cached_property
    def _special_tokens(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """The tokens before and after every text, which are those of an empty text; None if that does not show them."""
        if not self._takes_tokens:
            return None
        example = self._ids(self._tokenized(_EXAMPLE_TEXT))
        try:
            special = self._ids(self._tokenized(""))
        except EmptySampleError:
            return (), ()
        except Exception:  # noqa: BLE001 - the callable may raise anything for an empty text
            return None
        differing = (at for at, (ours, other) in enumerate(zip(special, example, strict=False)) if ours != other)
        count = next(differing, len(special))
        prefix, suffix = special[:count], special[count:]
        fits = len(special) <= len(example) and example[len(example) - len(suffix) :] == suffix
        return (prefix, suffix) if fits else None

    def _ids(self, row: InputRow) -> tuple[int, ...]:
        """Return the token ids of a row, without padding."""
        ids = next(array for name, array in row.inputs.items() if not is_mask_name(name))
        return tuple(ids[row.offset : row.offset + row.valid].tolist())


_EXAMPLE_TEXT = "the cat sat on the mat and looked at the dog"


class TransformedImagePreprocessor(ImagePreprocessor):
    """Convert images with a callable of the user. A tensor of the caller counts as converted."""

    def _ready(self, tensor: Any) -> NDArray[np.float32]:
        array = as_float32(as_array(tensor))
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
        return self.apply(sample)[0]

    def apply(self, sample: Any) -> tuple[Arrays, NDArray[Any] | None]:
        """Return the arrays of the network, and the attention mask if the network does not take it."""
        result = self.function(sample)
        if hasattr(result, "getbands"):
            raise UsageError(
                f"preprocess= returns an image of Pillow {result.size}, and a network takes an array or a tensor. "
                "Next: convert it at the end of preprocess=, as torchvision.transforms.ToTensor() does"
            )
        if not isinstance(result, Mapping):
            mask = getattr(result, "attention_mask", None)
            array = as_array(getattr(result, "ids", result))  # of the library tokenizers
            return {INPUT: array}, None if mask is None else as_array(mask)
        names = [name for name in result if self.accepted is None or name in self.accepted] or list(result)[:1]
        arrays = {name: _without_batch(as_array(result[name])) for name in names}
        mask = None
        if "attention_mask" in result and "attention_mask" not in names:
            mask = _without_batch(as_array(result["attention_mask"]))
        return arrays if len(arrays) > 1 else {INPUT: next(iter(arrays.values()))}, mask


class ImageTransform(Transform):
    """A callable from an RGB image of Pillow to a converted image, as the hook ``layerzoo_preprocess`` returns it."""

    def __call__(self, sample: Any) -> Any:
        arrays = super().__call__(sample)
        if len(arrays) > 1:
            pixels = arrays.get(PIXEL_MASK)
            return ImageInputs(arrays, pixels if pixels is not None and pixels.ndim == 2 else None)
        (array,) = arrays.values()
        return array[0] if array.ndim == 4 and len(array) == 1 else array


class AudioTransform(Transform):
    """A callable from float32 samples to the input of a network, as the hook ``layerzoo_preprocess`` returns it."""

    def __call__(self, sample: Any) -> Any:
        arrays, unused_mask = self.apply(sample)
        if unused_mask is not None and not unused_mask.all():
            raise SampleError(
                "waveform",
                "preprocess= pads it, and the network takes no attention_mask, so that the padding would be pooled. "
                "Next: a preprocess that does not pad",
            )
        if len(arrays) == 1:
            return next(iter(arrays.values()))
        mask = mask_name(arrays)
        if mask is None:
            return AudioInputs(arrays)
        positions = valid_range(mask, arrays[mask])
        if positions.offset:
            raise SampleError("waveform", "preprocess= pads it on the left. Next: a preprocess that pads on the right")
        check_padding(arrays, positions)
        return AudioInputs(arrays, mask)


def transformed_images(function: Callable[[Any], Any], accepted: frozenset[str] | None) -> TransformedImagePreprocessor:
    """Return the preprocessing of images by a callable of the user: a transform of torchvision, timm or its own.

    Raises: the exceptions of the callable for an image.
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
        raise TypeError(f"an object of type {type(value).__name__} is not an array of numbers")
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
