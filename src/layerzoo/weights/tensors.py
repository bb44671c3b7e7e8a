"""What a safetensors file holds, without reading a tensor and without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerzoo.errors import WeightsError
from layerzoo.weights.partial import PartialFile
from layerzoo.weights.spans import Span

_LENGTH_BYTES = 8
_LONGEST_HEADER_BYTES = 100_000_000  # safetensors' own limit


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a checkpoint."""

    dtype: str
    """As safetensors writes it: F32, BF16, I64 …"""
    shape: tuple[int, ...]
    start: int
    """Place of its first byte, from the start of the file."""
    stop: int
    """Place after its last byte."""

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file by name, in the order of their bytes.

    Raises: WeightsError when the file is cut short or is no valid safetensors file.
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
        if name != "__metadata__"
    }
    return dict(sorted(entries.items(), key=lambda item: item[1].start))


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file that :func:`read_header` can read. Raises: OSError."""
    metadata: dict[str, str] = _parse(path)[0].get("__metadata__", {})
    return metadata


def fetch_header(part: PartialFile) -> None:
    """Have the header of a safetensors file here, of which some bytes may still be on a server.

    Raises: WeightsError when it claims to be longer than the file, UnavailableError of the kind that fits.
    """
    is_none = f"{part.about.source} is no safetensors file"
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
    """The header's JSON, and where the bytes of the tensors start."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        return json.loads(file.read(length)), _LENGTH_BYTES + length


def _wrong_size(path: Path) -> str | None:
    """Says so when the file is not as long as its header claims, which the library only calls "not fully covered"."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if size < _LENGTH_BYTES + length:
        return f"its {size:,} bytes end before its header does; it was cut short, or is no safetensors file"
    try:
        header, data_start = _parse(path)
        ends = [fields["data_offsets"][1] for name, fields in header.items() if name != "__metadata__"]
        claimed = data_start + max(ends, default=0)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):  # nonsense: the library says how
        return None
    return (
        None
        if claimed == size
        else f"it has {size:,} bytes, and its header describes {claimed:,}; was the copy interrupted?"
    )
