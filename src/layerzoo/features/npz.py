"""Features as a numpy archive, for programs that read nothing else. Nothing in it is pickled.

Members: ``id`` (n,) str, one array per layer, and ``layerzoo.json``. A layer whose samples differ in shape is kept as
its numbers in a row, with ``shape of LAYER`` (n, axes) int32 beside it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from layerzoo.features.features import SHAPE_OF, Features, LayerArray
from layerzoo.features.flat import FlatArray, flat_arrays, split
from layerzoo.features.summary import Summary

if TYPE_CHECKING:
    from layerzoo.features.parquet import ParquetFeatures

DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile)
"""What reading a file raises that is no file of features; a RuntimeError (NotImplementedError among them) where damage
looks to zipfile like a password or a method of compression that it does not know."""

_SUMMARY = "layerzoo.json"


def load(path: Path) -> Features:
    """The features in a numpy archive. Raises: InputError, or one of DAMAGE."""
    with np.load(path, allow_pickle=False) as archive:

        def chunks(layer: str) -> Iterator[LayerArray]:
            shapes = archive.get(SHAPE_OF + layer)
            yield archive[layer] if shapes is None else split(archive[layer], shapes)

        summary = Summary.from_json(archive.get(_SUMMARY))
        return summary.features(archive["id"].tolist(), chunks)


def export(stored: ParquetFeatures, path: Path) -> None:
    """Copy a Parquet file of features into a numpy archive, a row group at a time. Raises: OSError."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_SUMMARY, stored.summary.to_json())
        _write(archive, _ids(stored))
        for array in flat_arrays(stored):
            _write(archive, array)


def _ids(stored: ParquetFeatures) -> FlatArray:
    dtype = np.dtype(f"<U{max(map(len, stored.ids()), default=0) or 1}")
    return FlatArray("id", dtype, (len(stored),), lambda: (np.array(each, dtype).tobytes() for each in stored.ids()))


def _write(archive: zipfile.ZipFile, array: FlatArray) -> None:
    """One member of the archive, as numpy.save writes it."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    with archive.open(f"{array.name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_2_0(member, header)
        for part in array.parts():
            member.write(part)
