"""The formats of features on disk, by suffix. Each is imported when a file of it is read or written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from layerzoo.errors import InputError, UsageError

if TYPE_CHECKING:
    from layerzoo.features.features import Features
    from layerzoo.features.parquet import ParquetFeatures

SUFFIXES = (".parquet", ".npz", ".safetensors")


@dataclass(frozen=True, slots=True)
class Format:
    """How one format is read, and made from the Parquet file that samples are collected in."""

    load: Callable[[Path], Features]
    damage: tuple[type[Exception], ...]
    """What ``load`` raises, besides InputError, for a file that is not of this format."""
    export: Callable[[ParquetFeatures, Path], None] | None
    """None: the Parquet file is the result already."""


def format_of(path: Path) -> Format:
    """The format that a file's suffix means. Raises: UsageError naming the suffixes there are."""
    match path.suffix.lower():
        case ".parquet":
            from layerzoo.features import parquet

            return Format(parquet.load, parquet.DAMAGE, None)
        case ".npz":
            from layerzoo.features import npz

            return Format(npz.load, npz.DAMAGE, npz.export)
        case ".safetensors":
            from layerzoo.features import safetensors

            return Format(safetensors.load, safetensors.DAMAGE, safetensors.export)
        case suffix:
            asked = f"no format is called '{suffix}'" if suffix else "the name has no suffix to tell the format"
            raise UsageError(f"{path}: {asked}. Possible: {', '.join(SUFFIXES)}")


def load(path: Path) -> Features:
    """The features in a file. Raises: InputError, or UsageError for an unknown suffix."""
    found = format_of(path)
    unreadable: tuple[type[Exception], ...] = (InputError, *found.damage)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        return found.load(path)
    except unreadable as error:
        raise InputError(f"{path} holds no features that can be read: {error}") from error
