"""Find the samples that the inputs name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sized
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from layerzoo.errors import InputError, SampleError
from layerzoo.media import dataset, folder, paths
from layerzoo.media.array_images import ImageLayout, check_declaration, images
from layerzoo.media.audio_input import Audio, is_tensor_with_rate
from layerzoo.media.columns import TableInMemory, position_of, sample_of, table_in_memory
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.lines import lines
from layerzoo.media.refusals import refused
from layerzoo.media.sample import Sample, UnusableError, shown
from layerzoo.media.sniff import NOUNS, is_animation_file, kind_of_file, kind_of_suffix
from layerzoo.media.text_file import numbered, texts
from layerzoo.media.written import is_features
from layerzoo.spec import Modality

__all__ = ["Item", "Sample", "Samples", "samples"]

Item = Sample | SampleError


class Samples(Iterator[Item]):
    """Iterate over the samples, each read when it is needed. A sample that cannot be read is a SampleError.

    Attributes:
        passed_over: the files that are not samples: of another kind, hidden, or read elsewhere. Complete at the end.
    """

    def __init__(self, items: Iterator[Item], passed_over: list[str]) -> None:
        self._items = items
        self.passed_over = passed_over

    def __next__(self) -> Item:
        return next(self._items)


def samples(
    inputs: Any,
    modality: Modality,
    *,
    column: str | None = None,
    decoder: Decoder = IN_PROCESS,
    ids: str | Iterable[str] | None = None,
    layout: ImageLayout | None = None,
    value_range: tuple[float, float] | None = None,
) -> Samples:
    """Return the samples for a model of a modality, lazily and always in the same order.

    ``inputs`` is one of

    - a str or path: a file; a folder (everything below it that is of the modality by content or by suffix, sorted;
      for an audio model also videos, whose audio track is taken); a
      pattern such as ``photos/**/*.jpg`` (of the files it matches, likewise); ``-`` (lines on the standard input: texts
      for a text model, paths for the others);
    - one sample in memory: a PIL image, an array, an Audio or (samples, rate), bytes (an encoded file, or UTF-8
      text), a preprocessed torch.Tensor;
    - a table in memory: a frame of pandas or polars, a table of pyarrow, or a Hugging Face ``datasets`` Dataset, whose
      column has the samples;
    - an array or tensor of several images, with its axes declared (``layout``);
    - a torch Dataset or DataLoader; of an item that is a tuple or list, such as (image, label), the first element is
      the sample;
    - any other iterable of samples, in which a Path is a file or folder, and a str is a text for a text model and a
      path for the others.

    For a text model a file holds many samples: the lines of a text file, or the text column of a .csv, .tsv, .jsonl or
    .parquet (``column``; else the one called "text", or the only one of text).
    An error of the input as a whole is an InputError; an error of one item of a list is the failure of that item.

    Args:
        inputs: see above.
        modality: of the model.
        column: the column of a table. None: of texts the one called "text" or the only one of text, else the only one
            that may hold samples.
        decoder: reads tables of a binary format.
        ids: of inputs in memory, one for each; or the name of the column of a table that has them.
        layout: the axes of arrays and tensors of images. A tensor is then not preprocessed.
        value_range: the values of black and white in arrays of images.
    Raises: InputError before anything is read if there is no sample at all.
    """
    if modality != "vision" and (layout is not None or value_range is not None):
        raise InputError(f"layout= and value_range= are for images, and the model takes {NOUNS[modality]}")
    black_and_white = check_declaration(layout, value_range)
    passed_over: list[str] = []
    items = _Finder(modality, column, passed_over, decoder, ids, layout, black_and_white).items(inputs)
    first = next(items, None)
    if first is None:
        raise InputError(f"no samples: the {type(inputs).__name__} that was given holds no {NOUNS[modality]}")
    return Samples(chain([first], items), passed_over)


_UNDECLARED_BATCH = (
    "an array of shape {shape} is a batch of images. Declare its axes, as in layout='NHWC' (batch, height, width, "
    "channel) or layout='NCHW', and of floating-point numbers value_range=(0, 1). Pass preprocessed tensors as a list"
)
KINDS: dict[Modality, set[Modality]] = {"audio": {"audio", "video"}}
"""The kinds of files that a folder holds for a model: of a video, an audio model takes the audio track."""
_HINTS = 20
"""The number of missing names for which the nearest existing ones are searched."""


class _Finder:
    def __init__(
        self,
        modality: Modality,
        column: str | None,
        passed_over: list[str],
        decoder: Decoder,
        ids: str | Iterable[str] | None = None,
        layout: ImageLayout | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.decoder = decoder
        self.modality = modality
        self.column = column
        self.passed_over = passed_over
        self.missing = 0
        self.ids = ids
        self.layout = layout
        self.value_range = value_range

    def items(self, inputs: Any) -> Iterator[Item]:
        if isinstance(inputs, str | os.PathLike):
            if self.layout is not None or self.value_range is not None:
                raise InputError(
                    "layout= and value_range= declare an array of images in memory, and the input is a path: images in "
                    "files have known axes and values"
                )
            if self.ids is not None:
                raise InputError("ids= is for inputs in memory. The samples of a path have their paths as ids")
            if self.column is not None and self.modality != "text":
                raise InputError(
                    f"column={self.column!r} chooses texts from a file, and the model takes {NOUNS[self.modality]}. "
                    "Pass a table in memory, as in pandas.read_csv(path)"
                )
            return self._of_named_input(inputs)
        if (table := table_in_memory(inputs)) is not None:
            return self._of_table(table)
        if self.column is not None:
            advice = refused(inputs) or "Pass a table of pandas, polars, pyarrow or datasets"
            raise InputError(
                f"column={self.column!r} is for a table, and the inputs are of type {type(inputs).__name__}. {advice}"
            )
        if isinstance(self.ids, str):
            raise InputError(
                f"ids={self.ids!r}: a string names a column, and the inputs are no table. Pass a list of ids"
            )
        values = self._values(inputs)
        if self.ids is not None and isinstance(values, list | tuple) and self.layout is None:
            _check_count(self.ids, len(values))
        return self._of_items((sample_of(value, self.modality) for value in values), self.ids)

    def _values(self, inputs: Any) -> Iterable[Any]:
        """Return the samples in memory, one by one. Raises: InputError for another type."""
        if dataset.is_loader(inputs):
            return map(self._first, dataset.items_of_batches(inputs))
        if dataset.is_dataset(inputs):
            return map(self._first, dataset.items(inputs))
        if _is_value(inputs, self.modality):
            if self.modality == "vision" and self.layout is None and getattr(inputs, "ndim", 0) == 4:
                raise InputError(_UNDECLARED_BATCH.format(shape=tuple(inputs.shape)))
            return [inputs]
        if (advice := refused(inputs)) is not None:
            raise InputError(f"cannot read inputs of type {type(inputs).__name__}. {advice}")
        values: Iterable[Any] = inputs
        return values

    def _of_table(self, table: TableInMemory) -> Iterator[Item]:
        position = position_of(table, self.column, self.modality)
        ids = table.index() if table.index and self.ids is None else self.ids
        if isinstance(ids, str):
            if ids not in table.names:
                raise InputError(f"there is no column {ids!r} for the ids. Columns: {', '.join(table.names)}")
            ids = map(str, table.values(list(table.names).index(ids)))
        cells = table.values(position)
        return self._of_items((sample_of(cell, self.modality) for cell in cells), ids)

    def _first(self, item: Any) -> Any:
        """Return the sample of a dataset's item, which may be a tuple that begins with it."""
        if not isinstance(item, tuple | list) or _is_audio(item, self.modality) or not item:
            return item
        if self.modality == "audio" and dataset.is_tensor(item[0]) and len(item) > 1 and isinstance(item[1], int):
            return UnusableError(
                "a tensor and a number, which may be a sample rate or a label: give Audio(samples, sample_rate_hz), "
                "or the tensor alone where it is preprocessed"
            )
        return item[0]

    def _of_items(self, values: Iterable[Any], ids: Iterable[Any] | None = None) -> Iterator[Item]:
        declared = (
            image for value in values for image in images(value, self.layout, self.value_range)
        )  # several for an array of several
        for position, (name, value) in enumerate(with_ids(declared, ids)):
            if isinstance(value, SampleError):
                yield value if name is None else SampleError(name, value.reason)
            elif isinstance(value, UnusableError):
                yield SampleError(str(position) if name is None else name, str(value))
            elif isinstance(value, os.PathLike) or (isinstance(value, str) and self.modality != "text"):
                yield from self._of_item(value) if name is None else self._only_item(value, name)
            else:
                yield Sample(str(position) if name is None else name, value)

    def _only_item(self, path: str | os.PathLike[str], name: str) -> Iterator[Item]:
        """Yield the only sample of a path in a list, under an id of the caller."""
        items = list(islice(self._of_item(path), 2))
        if len(items) > 1:
            raise InputError(
                f"ids= has one id for {shown(path)}, which holds several samples. Pass its samples one by one"
            )
        for item in items:
            yield Sample(name, item.source) if isinstance(item, Sample) else SampleError(name, item.reason)

    def _of_item(self, name: str | os.PathLike[str]) -> Iterator[Item]:
        """Yield the samples of a path in a list. A failure is yielded as a SampleError, and the next path is read."""
        try:
            yield from self._of_path(name)
        except UnusableError as refusal:
            yield SampleError(shown(name), str(refusal))

    def _of_named_input(self, name: str | os.PathLike[str]) -> Iterator[Item]:
        """Yield the samples of the only input. A failure is raised as an InputError, unless a part of it is usable."""
        items = self._of_path(name)
        try:
            yield next(items)
        except UnusableError as refusal:
            hint = ""
            text = os.fspath(name)
            if self.modality == "text" and text != "-" and not (paths.exists(text) or paths.is_url(text)):
                hint = ". A text is a line of a file, or of standard input: -"
                if isinstance(name, str):
                    hint = ". A string is a path. For a text, pass a list: [text]"
            raise InputError(f"{_shortened(shown(name))}: {refusal}{hint}") from refusal
        try:
            yield from items
        except UnusableError as refusal:
            yield SampleError(shown(name), str(refusal))

    def _of_path(self, name: str | os.PathLike[str]) -> Iterator[Item]:
        text = os.fspath(name)
        if text == "-":
            yield from self._of_standard_input()
        elif paths.exists(text):
            path = Path(text)
            yield from self._of_folder(path) if path.is_dir() else self._of_file(path, shown(text))
        elif paths.is_pattern(text):
            files = list(paths.matches(text))
            if not files:
                raise UnusableError("no file matches this pattern")
            yield from self._of_files(files, f"no file matches that is of the model's kind ({NOUNS[self.modality]})")
        else:
            self.missing += 1
            raise UnusableError(paths.missing(text, hint=self.missing <= _HINTS))

    def _of_standard_input(self) -> Iterator[Item]:
        if self.modality == "text":
            yield from self._some(numbered(lines(sys.stdin.buffer), "-"), "nothing on the standard input")
            return
        paths = (
            line if isinstance(line, UnusableError) else Path(os.fsdecode(line))
            for line in lines(sys.stdin.buffer)
            if line
        )
        yield from self._some(self._of_items(paths), "nothing on the standard input")

    def _of_folder(self, path: Path) -> Iterator[Item]:
        nothing = f"no {NOUNS[self.modality]} in this folder"
        yield from self._of_files(folder.files(path, self.passed_over), nothing, empty="this folder is empty")

    def _of_files(self, files: Iterable[Path | SampleError], nothing: str, empty: str | None = None) -> Iterator[Item]:
        """Yield those of the modality, by content or by suffix; a file that only pretends is a sample that fails."""
        yield from self._some(chain.from_iterable(map(self._of_candidate, files)), nothing, empty)

    def _of_candidate(self, file: Path | SampleError) -> Iterator[Item]:
        if isinstance(file, SampleError):
            yield file
        elif is_features(file):
            self.passed_over.append(shown(file))
        elif not KINDS.get(self.modality, {self.modality}).isdisjoint((kind_of_suffix(file), kind_of_file(file))) or (
            self.modality == "video" and is_animation_file(file)
        ):
            try:
                yield from self._of_file(file, shown(file))
            except UnusableError as refusal:
                yield SampleError(shown(file), str(refusal))
        else:
            self.passed_over.append(shown(file))

    def _of_file(self, path: Path, id: str) -> Iterator[Item]:
        if self.modality == "text":
            return self._some(texts(path, self.column, self.decoder), "no texts in this file")
        return iter([Sample(id, path)])

    def _some(self, items: Iterator[Item], nothing: str, empty: str | None = None) -> Iterator[Item]:
        """Yield the items. Raises: UnusableError when there are none. empty: the reason if no file was passed over."""
        count_before = len(self.passed_over)
        first = next(items, None)
        if first is None:
            skipped = self.passed_over[count_before:]
            hint = f"; passed over: {', '.join(skipped[:3])}{' …' if len(skipped) > 3 else ''}" if skipped else ""
            raise UnusableError(nothing + hint if skipped or empty is None else empty)
        yield first
        yield from items


def is_one_sample(inputs: Any, modality: Modality) -> bool:
    """Return whether inputs are one sample by their form: a value, or a path that names one file.

    Args:
        inputs: as for :func:`samples`. For a text model, a string is a text here, and a path names a file of texts.
        modality: of the model.
    """
    if isinstance(inputs, str | os.PathLike):
        if modality == "text":
            return isinstance(inputs, str)
        name = os.fspath(inputs)
        return name != "-" and (not Path(name).is_dir() if paths.exists(name) else not paths.is_pattern(name))
    return _is_value(inputs, modality)


def _is_value(value: Any, modality: Modality) -> bool:
    image = sys.modules.get("PIL.Image")
    return (
        isinstance(value, bytes | bytearray | memoryview)
        or (isinstance(value, np.ndarray) and not (modality == "text" and value.ndim))
        or dataset.is_tensor(value)
        or (image is not None and isinstance(value, image.Image))
        or _is_audio(value, modality)
        or (modality == "audio" and is_tensor_with_rate(value))
    )


def _is_audio(value: Any, modality: Modality) -> bool:
    """Return whether a value is (samples, rate). For an audio model such a pair is never (sample, label)."""
    return (
        modality == "audio"
        and isinstance(value, tuple)
        and len(value) == 2
        and (isinstance(value, Audio) or isinstance(value[0], np.ndarray))
        and not isinstance(value[1], np.ndarray)
    )


def with_ids(values: Iterable[Any], ids: Iterable[Any] | None) -> Iterator[tuple[str | None, Any]]:
    """Yield each value with its id, or None without ids. Raises: InputError where their numbers differ."""
    if ids is None:
        yield from ((None, value) for value in values)
        return
    names = iter(ids)
    count = 0
    for count, value in enumerate(values, start=1):
        name = next(names, _END)
        if name is _END:
            raise InputError(f"ids= has {count - 1:,} ids, and there are more inputs. Pass one id for each input")
        yield str(name), value
    if next(names, _END) is not _END:
        raise InputError(f"ids= has more ids than the {count:,} inputs. Pass one id for each input")


def _check_count(ids: object, inputs: int) -> None:
    """Compare the numbers of ids and inputs before anything is read. Raises: InputError."""
    if isinstance(ids, Sized) and len(ids) != inputs:
        raise InputError(f"ids= has {len(ids):,} ids for {inputs:,} inputs. Pass one id for each input")


_END = object()


def _shortened(name: str) -> str:
    return (name or "''") if len(name) <= 100 else f"{name[:97]}…"
