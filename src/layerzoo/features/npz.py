"""Features as a numpy archive, for programs that read nothing else. Nothing in it is pickled or compressed.

Members: ``id`` (n,) str, one array per layer, ``layerzoo.json`` and its sha256. A layer whose samples differ in shape
is kept as its numbers in a row, with ``shape of LAYER`` (n, axes) int32 next to it. Two archives of the same features
are the same bytes.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from layerzoo.errors import InputError
from layerzoo.features.features import LayerArray
from layerzoo.features.flat import FlatArray, flat_arrays
from layerzoo.features.raw import RawArray, RawLayers
from layerzoo.features.summary import DIGEST_KEY, KEY, Summary

if TYPE_CHECKING:
    from layerzoo.features.parquet import ParquetFeatures

_SUMMARY = "layerzoo.json"
_LONGEST_HEADER_BYTES = 1 << 16
"""The longest header of an array that is read: numpy writes less than 200 bytes for few axes."""
_UNIX = 3
"""The operating system that archives state: a constant, so that they are the same everywhere."""


class NpzFeatures:
    """A numpy archive of features."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError, BadZipFile and others."""
        self._path = path
        self._archive = zipfile.ZipFile(path)
        self._opened: RawLayers | None = None

    def __enter__(self) -> NpzFeatures:
        return self

    def __exit__(self, *error: object) -> None:
        if self._opened is not None:
            self._opened.close()
        self._archive.close()

    def __len__(self) -> int:
        return self._layers.arrays["id"].shape[0]

    @property
    def _layers(self) -> RawLayers:
        """Raises: InputError for an archive that is compressed or has arrays that layerzoo does not write."""
        if self._opened is None:
            members = self._archive.infolist()
            stored = sum(member.file_size for member in members)
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise InputError("its members are compressed, so it was not written by layerzoo")
            if stored > self._path.stat().st_size:
                raise InputError("its members overlap, so it was not written by layerzoo")
            arrays = {
                member.filename.removesuffix(".npy"): _array(self._archive, member, self._path)
                for member in members
                if member.filename.endswith(".npy")
            }
            self._opened = RawLayers(self._path, arrays)
        return self._opened

    @property
    def summary(self) -> Summary:
        _ = self._layers  # an archive with pickles says so, whatever else is in it
        return Summary.from_metadata(self._text(_SUMMARY), self._text(DIGEST_KEY))

    @property
    def is_of_layerzoo(self) -> bool:
        """Whether it has a member that layerzoo writes."""
        return not {_SUMMARY, DIGEST_KEY}.isdisjoint(self._archive.namelist())

    def _text(self, name: str) -> bytes | None:
        if name not in self._archive.namelist():
            return None
        if self._archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise InputError(f"its member {name} is compressed, so it was not written by layerzoo")
        return self._archive.read(name)

    def ids(self) -> Iterator[str]:
        """Yield all ids."""
        return iter(self._layers.read("id", self._layers.arrays["id"].dtype).tolist())

    def chunks(self, layer: str) -> Iterator[LayerArray]:
        """Yield the samples of a layer, some at a time."""
        return self._layers.chunks(layer)

    def fill(self, layer: str, result: LayerArray) -> Iterator[int]:
        """Read a layer into an array; yield the number of rows that were read so far."""
        return self._layers.fill(layer, result)

    def check(self) -> None:
        """Read every member with the checksum of the archive. Raises: InputError, BadZipFile."""
        if damaged := self._archive.testzip():
            raise InputError(f"its member {damaged} is damaged")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> RawArray:
    """Find the bytes of an array. Raises: InputError, ValueError and others for a header that makes no sense."""
    with archive.open(member) as file:
        head = io.BytesIO(file.read(_LONGEST_HEADER_BYTES))
    version = np.lib.format.read_magic(head)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read_header(head)
    if dtype.hasobject:
        raise InputError(f"its array {member.filename} is a pickle, which is never opened (allow_pickle=False)")
    if is_fortran:
        raise InputError(f"its array {member.filename} is in Fortran order, so it was not written by layerzoo")
    return RawArray(dtype.str, shape, _start_of(member, path) + head.tell(), member.file_size - head.tell())


def _start_of(member: zipfile.ZipInfo, path: Path) -> int:
    """Return the position of a member's first byte. Source: .ZIP file format specification, 4.3.7."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
    return int(member.header_offset + 30 + name_bytes + extra_bytes)


def export(stored: ParquetFeatures, path: Path) -> None:
    """Copy a Parquet file of features into a numpy archive, a row group at a time. Raises: OSError."""
    metadata = stored.summary.to_metadata()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member(_SUMMARY), metadata[KEY])
        archive.writestr(_member(DIGEST_KEY), metadata[DIGEST_KEY])
        _write(archive, _ids(stored))
        for array in flat_arrays(stored):
            _write(archive, array)


def _ids(stored: ParquetFeatures) -> FlatArray:
    dtype = np.dtype(f"<U{max(map(len, stored.ids()), default=0) or 1}")
    return FlatArray(
        "id", dtype, (len(stored),), lambda: (np.array(sample_id, dtype).tobytes() for sample_id in stored.ids())
    )


def _member(name: str) -> zipfile.ZipInfo:
    """Return a member with a fixed time, so that equal runs write equal archives."""
    member = zipfile.ZipInfo(name)
    member.create_system = _UNIX
    member.external_attr = 0o600 << 16
    return member


def _write(archive: zipfile.ZipFile, array: FlatArray) -> None:
    """Return one member of the archive, as numpy.save writes it."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    with archive.open(_member(f"{array.name}.npy"), "w", force_zip64=True) as member:
        np.lib.format.write_array_header_2_0(member, header)
        for part in array.parts():
            member.write(part)
