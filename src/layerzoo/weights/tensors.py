"""Read the header of a safetensors file, without its tensors and without torch."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerzoo.errors import WeightsError
from layerzoo.weights.partial import PartialFile
from layerzoo.weights.spans import Span

_METADATA = "__metadata__"
_DIGESTS, _HEADER_DIGEST = "layerzoo.tensors", "layerzoo.sha256"
"""The metadata of a file that layerzoo wrote: the sha256 of each tensor (JSON), and that of all else in the header."""
_LENGTH_BYTES = 8
_READ_BYTES = 1 << 20
_LONGEST_HEADER_BYTES = 100_000_000  # safetensors' own limit


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a checkpoint."""

    dtype: str
    """As safetensors writes it: F32, BF16, I64 …"""
    shape: tuple[int, ...]
    start: int
    """The position of its first byte in the file."""
    stop: int
    """The position after its last byte."""

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Return the tensors of a safetensors file by name, in the order of their bytes.

    Args:
        path: of the file.
    Raises: WeightsError when the file is cut short or is not a valid safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # the library's own checks: holes, overlaps, lengths, types
            pass
        header, data_start = _parse(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    except SafetensorError as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {_wrong_size(path) or error}") from error
    entries = {
        name: TensorEntry(fields["dtype"], tuple(fields["shape"]), *(data_start + at for at in fields["data_offsets"]))
        for name, fields in header.items()
        if name != _METADATA
    }
    return dict(sorted(entries.items(), key=lambda item: item[1].start))


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file that :func:`read_header` can read.

    Args:
        path: of the file.
    Raises: OSError.
    """
    metadata: dict[str, str] = _parse(path)[0].get(_METADATA, {})
    return metadata


@dataclass(frozen=True, slots=True)
class TensorData:
    """A tensor to be written."""

    dtype: str
    """As safetensors writes it."""
    shape: tuple[int, ...]
    data: memoryview
    """Its bytes, in C order."""


def write_tensors(path: Path, tensors: Mapping[str, TensorData], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file with the digest of each tensor, in place.

    (The library's own function writes to a file of another name, which a killed process leaves.)

    Args:
        path: of the file, which is replaced.
        tensors: the bytes, dtype and shape of each tensor, by name.
        metadata: texts for the header, by key.
    Raises: OSError.
    """
    names = sorted(tensors)
    digests = {name: hashlib.sha256(tensors[name].data).hexdigest() for name in names}
    header: dict[str, Any] = {_METADATA: {**metadata, _DIGESTS: json.dumps(digests)}}
    start = 0
    for name in names:
        stop = start + tensors[name].data.nbytes
        header[name] = {"dtype": tensors[name].dtype, "shape": tensors[name].shape, "data_offsets": (start, stop)}
        start = stop
    header[_METADATA][_HEADER_DIGEST] = _header_digest(header)
    text = json.dumps(header).encode()
    text = text.ljust(-(-len(text) // _LENGTH_BYTES) * _LENGTH_BYTES)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for name in names:
            file.write(tensors[name].data)


def read_digests(path: Path) -> dict[str, str] | None:
    """Return the sha256 of each tensor of a file that :func:`read_header` can read; None where it holds none.

    Args:
        path: of a safetensors file.
    Raises: WeightsError where the header is not as :func:`write_tensors` wrote it, OSError.
    """
    header, _ = _parse(path)
    metadata = header.get(_METADATA, {})
    stated, digests = metadata.pop(_HEADER_DIGEST, None), metadata.get(_DIGESTS)
    if stated is None and digests is None:
        return None
    if digests is None or stated != _header_digest(header):
        raise WeightsError(f"{path} is damaged: its header is not the one that was written")
    by_tensor: dict[str, str] = json.loads(digests)
    return by_tensor


def check_tensors(path: Path) -> bool:
    """Read a whole file, and compare each tensor with its digest.

    Args:
        path: of a safetensors file.
    Returns: whether it holds digests.
    Raises: WeightsError for a file that is damaged, OSError.
    """
    entries, digests = read_header(path), read_digests(path)
    with io.FileIO(path) as file:
        for name in entries if digests is not None else ():
            assert digests is not None
            check_digest(path, name, _digest_in(file, entries[name]), digests)
    return digests is not None


def check_digest(path: Path, name: str, actual: str, digests: Mapping[str, str]) -> None:
    """Compare a tensor with the digest that it was written with.

    Args:
        path: of the file, for the message.
        name: of the tensor.
        actual: the sha256 of its bytes, in hex.
        digests: the sha256 of each tensor as written, in hex, by name.
    Raises: DamagedTensorError where a tensor is not the one that was written.
    """
    if actual != digests.get(name):
        raise DamagedTensorError(
            f"{path} is damaged: the sha256 of '{name}' is {actual[:12]}…, and {str(digests.get(name))[:12]}… was "
            "written. Next: zoo cache prune --damaged"
        )


class DamagedTensorError(WeightsError):
    """A file that layerzoo wrote has changed since."""


def _digest_in(file: io.FileIO, entry: TensorEntry) -> str:
    digest, remaining = hashlib.sha256(), entry.size_bytes
    file.seek(entry.start)
    while remaining and (chunk := file.read(min(remaining, _READ_BYTES))):
        digest.update(chunk)
        remaining -= len(chunk)
    return digest.hexdigest()


def _header_digest(header: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def fetch_header(part: PartialFile) -> None:
    """Fetch the header of a safetensors file, if some of its bytes are still on a server.

    Args:
        part: a safetensors file that was fetched in part.
    Raises: WeightsError when it claims to be longer than the file, UnavailableError of the kind that fits.
    """
    is_none = f"{part.about.source} is not a safetensors file"
    if part.about.size < _LENGTH_BYTES:
        raise WeightsError(f"{is_none}: it has only {part.about.size} bytes")
    part.ensure([Span(0, _LENGTH_BYTES)])
    with part.path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if _LENGTH_BYTES + length > part.about.size:
        raise WeightsError(f"{is_none}: its header claims {length:,} bytes, and the file has {part.about.size:,}")
    if length > _LONGEST_HEADER_BYTES:
        raise WeightsError(
            f"{is_none}: its header claims {length:,} bytes, and one has at most {_LONGEST_HEADER_BYTES:,}"
        )
    part.ensure([Span(0, _LENGTH_BYTES + length)])


def _parse(path: Path) -> tuple[dict[str, Any], int]:
    """Return the JSON of the header, and the position of the first tensor."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        return json.loads(file.read(length)), _LENGTH_BYTES + length


def _wrong_size(path: Path) -> str | None:
    """Describe a wrong size of the file, which the library only calls "not fully covered"; None if it is right."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if size < _LENGTH_BYTES + length:
        return f"its {size:,} bytes end before its header does; it was cut short, or is not a safetensors file"
    try:
        header, data_start = _parse(path)
        ends = [fields["data_offsets"][1] for name, fields in header.items() if name != _METADATA]
        claimed = data_start + max(ends, default=0)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):  # malformed: the library reports it
        return None
    return (
        None
        if claimed == size
        else f"it has {size:,} bytes, and its header describes {claimed:,}; was the copy interrupted?"
    )
