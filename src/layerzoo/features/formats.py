"""The formats of features on disk, by suffix. Each is imported when a file of it is read or written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from layerzoo.errors import InputError, UnknownLayerError, UsageError

if TYPE_CHECKING:
    from layerzoo.features.features import Features
    from layerzoo.features.parquet import ParquetFeatures
    from layerzoo.features.stored import StoredFeatures
    from layerzoo.features.summary import Shape

SUFFIXES = (".parquet", ".npz", ".safetensors", ".csv", ".npy")
_LONGEST_REASON = 500
_PANIC = "PanicException"
"""The exception of a library written in Rust; it is not an Exception, and has no module to import it from."""


@dataclass(frozen=True, slots=True)
class Format:
    """How one format is read, and made from the Parquet file that samples are collected in."""

    open: Callable[[Path], StoredFeatures]
    export: Callable[[ParquetFeatures, Path], None] | None
    """None: the Parquet file is the result already."""
    check: Callable[[Mapping[str, Shape]], None] = lambda shapes: None
    """Raises UsageError for layers, by the shape of their samples, that the format cannot hold."""
    is_complete: bool = True
    """Whether a file holds everything of features. Others are for programs that read nothing else."""


def format_of(path: Path) -> Format:
    """Return the format that a file's suffix means. Raises: UsageError naming the suffixes there are."""
    match path.suffix.lower():
        case ".parquet":
            from layerzoo.features import parquet

            return Format(parquet.ParquetFeatures, None)
        case ".npz":
            from layerzoo.features import npz

            return Format(npz.NpzFeatures, npz.export)
        case ".safetensors":
            from layerzoo.features import safetensors

            return Format(safetensors.SafetensorsFeatures, safetensors.export)
        case ".csv":
            from layerzoo.features import numbers_only

            return Format(numbers_only.refuse, numbers_only.export_csv, numbers_only.check_csv, is_complete=False)
        case ".npy":
            from layerzoo.features import numbers_only

            return Format(numbers_only.refuse, numbers_only.export_npy, numbers_only.check_npy, is_complete=False)
        case suffix:
            problem = f"no format is called '{suffix}'" if suffix else "the name has no suffix to tell the format"
            raise UsageError(f"{path}: {problem}. Possible: {', '.join(SUFFIXES)}")


def load(path: Path, layers: Sequence[str] | None = None) -> Features:
    """Return the features in a file, or of a run in a folder.

    layers: those to read; None: all. Raises: InputError, UnknownLayerError, or UsageError for an unknown suffix.
    """
    from layerzoo.features.stored import read

    if path.is_dir():
        from layerzoo.features.folder import load_folder

        return load_folder(path, layers)

    with _opened(path) as stored:
        return read(stored, path, layers)


def verify(path: Path) -> bool:
    """Read all of a file, and check everything in it.

    Returns: whether it has digests; without them, only the checks of its format were made.
    Raises: as :func:`load`.
    """
    from layerzoo.features.stored import verify

    with _opened(path) as stored:
        return verify(stored, path)


def is_of_layerzoo(path: Path) -> bool:
    """Return whether the metadata of a file have a part that layerzoo writes. Raises: as :func:`load`."""
    with _opened(path) as stored:
        return stored.is_of_layerzoo


@contextmanager
def _opened(path: Path) -> Iterator[StoredFeatures]:
    """Open a file of features. Inside the ``with`` block, the exceptions that a damaged file causes become an
    InputError.

    The libraries that read it may raise anything for a crafted file, RecursionError and MemoryError among them.
    """
    if not path.exists() and path.suffix.lower() not in SUFFIXES:
        raise InputError(f"there is no file or folder {path}")
    file_format = format_of(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with warnings.catch_warnings(action="ignore"), file_format.open(path) as stored:
            yield stored
    except UnknownLayerError:  # asked for by the caller
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        is_told = isinstance(error, InputError | OSError) or (isinstance(error, MemoryError) and str(error))
        reason = (str(error) if is_told else f"{type(error).__name__}: {error}")[:_LONGEST_REASON]
        advice = "" if isinstance(error, MemoryError | PermissionError) else _advice(path)
        raise InputError(f"{path} holds no features that can be read: {reason}{advice}") from error


def _advice(path: Path) -> str:
    """Return the next step where a file that cannot be read is the part of a run."""
    from layerzoo.features.part import DESCRIPTION, next_step, shard_of

    if shard_of(path.name) is None or not path.with_name(DESCRIPTION).is_file():
        return ""
    return f". {next_step(str(path.parent))}"
