"""Find the samples that the inputs name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from layerzoo.errors import InputError, SampleError
from layerzoo.media import dataset, folder, paths
from layerzoo.media.decoder import IN_PROCESS, Decoder
from layerzoo.media.lines import lines
from layerzoo.media.sample import Sample, UnusableError, shown
from layerzoo.media.sniff import NOUNS, kind_of_file, kind_of_suffix
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


def samples(inputs: Any, modality: Modality, *, column: str | None = None, decoder: Decoder = IN_PROCESS) -> Samples:
    """Return the samples for a model of a modality, lazily and always in the same order.

    ``inputs`` is one of

    - a str or path: a file; a folder (everything below it that is of the modality by content or by suffix, sorted); a
      pattern such as ``photos/**/*.jpg`` (of the files it matches, likewise); ``-`` (lines on the standard input: texts
      for a text model, paths for the others);
    - one sample in memory: a PIL image, an array, an Audio or (samples, rate), bytes (an encoded file, or UTF-8
      text), a preprocessed torch.Tensor;
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
        column: the text column of a table; None for the one called "text", or the only one of text.
        decoder: reads tables of a binary format.
    Raises: InputError before anything is read if there is no sample at all.
    """
    if column is not None and modality != "text":
        raise InputError(f"column='{column}' chooses texts from a table, and the model takes {NOUNS[modality]}")
    passed_over: list[str] = []
    items = _Finder(modality, column, passed_over, decoder).found(inputs)
    first = next(items, None)
    if first is None:
        raise InputError(f"no samples: the {type(inputs).__name__} that was given holds no {NOUNS[modality]}")
    return Samples(chain([first], items), passed_over)


_HINTS = 20
"""The number of missing names for which the nearest existing ones are searched."""


class _Finder:
    def __init__(self, modality: Modality, column: str | None, passed_over: list[str], decoder: Decoder) -> None:
        self.decoder = decoder
        self.modality = modality
        self.column = column
        self.passed_over = passed_over
        self.missing = 0

    def found(self, inputs: Any) -> Iterator[Item]:
        if isinstance(inputs, str | os.PathLike):
            return self._of_named_input(inputs)
        if dataset.is_loader(inputs):
            return self._of_items(map(self._first, dataset.items_of_batches(inputs)))
        if dataset.is_dataset(inputs):
            return self._of_items(map(self._first, dataset.items(inputs)))
        if self._is_one_sample(inputs):
            return self._of_items([inputs])
        if not isinstance(inputs, Iterable) or isinstance(inputs, Mapping) or hasattr(type(inputs), "columns"):
            raise InputError(
                f"a {type(inputs).__name__} is not an input: give a path, a folder, a pattern, '-', a list of samples "
                "(one column of a table), a torch Dataset or a DataLoader"
            )
        if isinstance(inputs, Set):
            raise InputError(f"a {type(inputs).__name__} has no order, and rows must: give sorted(…) of it")
        return self._of_items(inputs)

    def _is_one_sample(self, value: Any) -> bool:
        image = sys.modules.get("PIL.Image")
        return (
            isinstance(value, bytes | bytearray | memoryview)
            or (isinstance(value, np.ndarray) and not (self.modality == "text" and value.ndim))
            or dataset.is_tensor(value)
            or (image is not None and isinstance(value, image.Image))
            or self._is_audio(value)
        )

    def _is_audio(self, value: Any) -> bool:
        """Return whether a value is (samples, rate). For an audio model such a pair is never (sample, label)."""
        return (
            self.modality == "audio"
            and isinstance(value, tuple)
            and len(value) == 2
            and isinstance(value[0], np.ndarray)
            and not isinstance(value[1], np.ndarray)
        )

    def _first(self, item: Any) -> Any:
        """Return the sample of a dataset's item, which may be a tuple of it and other things."""
        if not isinstance(item, tuple | list) or self._is_audio(item) or not item:
            return item
        if self.modality == "audio" and dataset.is_tensor(item[0]) and len(item) > 1 and isinstance(item[1], int):
            return UnusableError(
                "a tensor and a number, which may be a sample rate or a label: give Audio(samples, sample_rate_hz), "
                "or the tensor alone where it is preprocessed"
            )
        return item[0]

    def _of_items(self, values: Iterable[Any]) -> Iterator[Item]:
        for position, value in enumerate(values):
            if isinstance(value, SampleError):
                yield value
            elif isinstance(value, UnusableError):
                yield SampleError(str(position), str(value))
            elif isinstance(value, os.PathLike) or (isinstance(value, str) and self.modality != "text"):
                yield from self._of_item(value)
            else:
                yield Sample(str(position), value)

    def _of_item(self, name: str | os.PathLike[str]) -> Iterator[Item]:
        """Yield the samples of a path in a list. Its failure is a SampleError, and the others go on."""
        try:
            yield from self._of_path(name)
        except UnusableError as refusal:
            yield SampleError(shown(name), str(refusal))

    def _of_named_input(self, name: str | os.PathLike[str]) -> Iterator[Item]:
        """Yield the samples of the only input. Its failure is an InputError, unless a part of it is usable."""
        items = self._of_path(name)
        try:
            yield next(items)
        except UnusableError as refusal:
            hint = ""
            if self.modality == "text" and isinstance(name, str) and name != "-" and not paths.exists(name):
                hint = '. To embed this text itself pass a list: ["…"]'
            raise InputError(f"{_shortened(shown(name))}: {refusal}{hint}") from refusal
        try:
            yield from items
        except UnusableError as refusal:
            yield SampleError(shown(name), str(refusal))

    def _of_path(self, name: str | os.PathLike[str]) -> Iterator[Item]:
        named = os.fspath(name)
        if named == "-":
            yield from self._of_standard_input()
        elif paths.exists(named):
            path = Path(named)
            yield from self._of_folder(path) if path.is_dir() else self._of_file(path, shown(named))
        elif paths.is_pattern(named):
            yield from self._of_files(
                paths.matches(named), f"no file matches that is of the model's kind ({NOUNS[self.modality]})"
            )
        else:
            self.missing += 1
            raise UnusableError(paths.missing(named, hint=self.missing <= _HINTS))

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
        yield from self._of_files(folder.files(path, self.passed_over), f"no {NOUNS[self.modality]} in this folder")

    def _of_files(self, files: Iterable[Path | SampleError], nothing: str) -> Iterator[Item]:
        """Yield those of the modality, by content or by suffix; a file that only pretends is a sample that fails."""
        yield from self._some(chain.from_iterable(map(self._of_candidate, files)), nothing)

    def _of_candidate(self, file: Path | SampleError) -> Iterator[Item]:
        if isinstance(file, SampleError):
            yield file
        elif is_features(file):
            self.passed_over.append(shown(file))
        elif self.modality in (kind_of_suffix(file), kind_of_file(file)):
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

    def _some(self, items: Iterator[Item], nothing: str) -> Iterator[Item]:
        """Yield the items. Raises: UnusableError when there are none."""
        before = len(self.passed_over)
        first = next(items, None)
        if first is None:
            others = self.passed_over[before:]
            told = f"; passed over: {', '.join(others[:3])}{' …' if len(others) > 3 else ''}" if others else ""
            raise UnusableError(nothing + told)
        yield first
        yield from items


def _shortened(name: str) -> str:
    return name if len(name) <= 100 else f"{name[:97]}…"
