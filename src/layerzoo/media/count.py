"""Count samples before they are read, to report how much of the work is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import chain
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

from layerzoo.errors import SampleError
from layerzoo.media import dataset, folder, paths
from layerzoo.media.columns import table_in_memory
from layerzoo.media.samples import KINDS, Item
from layerzoo.media.sniff import kind_of_suffix
from layerzoo.spec import Modality

_MOST_COUNTED = 1_000_000
"""The number of files or lines after which counting ends: reading them twice would take too long."""
_TABLES = {".csv", ".tsv", ".parquet"}


def known_count(inputs: Any, modality: Modality) -> int | None:
    """Return the number of samples where it follows from the length of the inputs; None where it does not."""
    if is_counted_by_reading(inputs, modality):
        return None
    if (table := table_in_memory(inputs)) is not None:
        return table.length
    if dataset.is_loader(inputs):
        inputs = inputs.dataset
    if dataset.is_tensor(inputs) or type(inputs).__module__ == "numpy":
        return len(inputs) if inputs.ndim == 4 or modality == "text" else 1
    if modality == "audio" and isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], int | float):
        return 1  # samples and their rate
    if isinstance(inputs, bytes | bytearray | memoryview) or not isinstance(inputs, Sized | Iterable):
        return 1
    return len(inputs) if isinstance(inputs, Sized) else None


def is_counted_by_reading(inputs: Any, modality: Modality) -> bool:
    """Return whether inputs are paths, which may be folders, patterns, tables or text files."""
    if isinstance(inputs, str | os.PathLike):
        return True
    names = str | os.PathLike if modality != "text" else os.PathLike
    return isinstance(inputs, list | tuple) and any(isinstance(value, names) for value in inputs)


def count_listed_files(names: Iterable[str], modality: Modality) -> int:
    """Return the number of files in folders, and of those that match patterns, whose suffix is of a modality.

    No file is read. Tables are not counted, because the features of an extraction may be in them.

    Args:
        names: paths of files and folders, patterns, and URLs. Only folders and patterns can get more files.
        modality: of the model.
    """
    kinds = KINDS.get(modality, {modality})
    listings = [listing for name in names if (listing := _listed(name)) is not None]
    files = (path for path in chain.from_iterable(listings) if isinstance(path, Path))
    counted = (path for path in files if kind_of_suffix(path) in kinds and path.suffix.lower() not in _TABLES)
    return sum(1 for _ in counted) if len(listings) == 1 else len(set(counted))


def _listed(name: str) -> Iterator[Path | SampleError] | None:
    """Return the files in a folder, or those that match a pattern; None for any other name."""
    if Path(name).is_dir():
        return folder.files(Path(name), [])
    return paths.matches(name) if paths.is_pattern(name) and not paths.exists(name) else None


class BackgroundCount:
    """Counts samples in a thread while the first of them are processed.

    Attributes:
        total: the number of samples; None while it is unknown.
    """

    def __init__(self, find: Callable[[], Iterator[Item]] | None, total: int | None = None) -> None:
        """Prepare to count. find: returns the samples; None where they are not counted. total: where it is known."""
        self.total = total
        self._find = find
        self._stop = Event()
        self._thread = Thread(target=self._count, daemon=True, name="layerzoo-count")

    @property
    def is_in_background(self) -> bool:
        """Whether the samples are counted by reading the inputs."""
        return self._find is not None

    def __enter__(self) -> Self:
        if self.is_in_background:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _count(self) -> None:
        assert self._find is not None
        try:
            for count, _ in enumerate(self._find(), start=1):
                if self._stop.is_set() or count > _MOST_COUNTED:
                    return
        except Exception:  # noqa: BLE001 - the run itself reports the error
            return
        self.total = count


def is_standard_input(inputs: Any) -> bool:
    """Return whether inputs come from standard input, which can be read once."""
    return inputs == "-" if isinstance(inputs, str) else isinstance(inputs, list) and any(map(_is_dash, inputs))


def _is_dash(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and os.fspath(value) == "-"
