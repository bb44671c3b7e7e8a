"""Where the audio of a file ends by its own headers, without decoding anything.

Each function takes an open file and the number of its bytes, and returns the position after the last byte of the audio;
0 where the header leaves it open, as when the file was written to a pipe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

# A length of 32 bits that was never written, because the file went to a pipe.
UNKNOWN_LENGTHS = range(0x7FFF0000, 1 << 32)
_W64_HEADER = 24  # bytes of a chunk's identifier and length, which its length includes
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_NIST_HEADER = 4096
_VOC_SOUND = {1, 2, 9}  # blocks that hold samples


def riff_end(file: BinaryIO, size: int) -> int:
    """Return the declared end of WAV and AVI: RIFF, RIFX, RF64 or BW64 (EBU Tech 3306, ITU-R BS.2088)."""
    file.seek(0)
    order: Literal["big", "little"] = "big" if file.read(4) == b"RIFX" else "little"
    long: int | None = None
    for name, start, length in _chunks(file, 12, size, order):
        if name == b"ds64":
            file.seek(start + 8)
            long = int.from_bytes(file.read(8), order)
        elif name == b"data":
            if length in UNKNOWN_LENGTHS:
                length = long or 0
            return start + length if length else 0
        elif name == b"LIST" and start + length > size and length not in UNKNOWN_LENGTHS:
            return start + length  # the frames of an AVI
    return 0


def aiff_end(file: BinaryIO, size: int) -> int:
    """Return the declared end of AIFF, AIFF-C and 8SVX (EA IFF 85)."""
    return max(
        (
            start + length
            for name, start, length in _chunks(file, 12, size, "big")
            if name in (b"SSND", b"BODY") and length not in UNKNOWN_LENGTHS
        ),
        default=0,
    )


def w64_end(file: BinaryIO, size: int) -> int:
    """Return the declared end of Sony Wave64: chunks with identifiers of 16 bytes, aligned to 8 bytes."""
    at = 40
    while at + _W64_HEADER <= size:
        file.seek(at)
        name, length = file.read(16), int.from_bytes(file.read(8), "little")
        if name == _W64_DATA:
            return at + length if length < 1 << 62 else 0
        if length < _W64_HEADER:
            return 0
        at += length + -length % 8
    return 0


def au_end(file: BinaryIO, size: int) -> int:
    """Return the declared end of Sun and NeXT audio, in either byte order."""
    file.seek(0)
    order: Literal["big", "little"] = "little" if file.read(4) == b"dns." else "big"
    offset, length = int.from_bytes(file.read(4), order), int.from_bytes(file.read(4), order)
    return 0 if length in UNKNOWN_LENGTHS else offset + length


def voc_end(file: BinaryIO, size: int) -> int:
    """Return the declared end of Creative Voice: blocks with a type and a length of 24 bits."""
    file.seek(20)
    at, end = int.from_bytes(file.read(2), "little"), 0
    while at + 4 <= size:
        file.seek(at)
        kind, length = file.read(1)[0], int.from_bytes(file.read(3), "little")
        if kind == 0:
            break
        at += 4 + length
        end = at if kind in _VOC_SOUND else end
    return end


def nist_end(file: BinaryIO, size: int) -> int:
    """Return the declared end of NIST SPHERE; 0 for a compressed file."""
    file.seek(0)
    lines = file.read(_NIST_HEADER).split(b"end_head")[0]
    fields: dict[bytes, bytes] = dict(re.findall(rb"^(\w+) -\w+ (\S+)", lines, re.MULTILINE))
    if b"," in fields.get(b"sample_coding", b""):
        return 0
    try:
        header = int(lines.split(b"\n")[1])
        channels, width = int(fields.get(b"channel_count", b"1")), int(fields[b"sample_n_bytes"])
        return header + int(fields[b"sample_count"]) * channels * width
    except (ValueError, IndexError, KeyError):
        return 0


def sox_end(file: BinaryIO, size: int) -> int:
    """Return the declared end of SoX native audio, in either byte order (SoX, sox-fmt.c): samples of 32 bits."""
    file.seek(0)
    order: Literal["big", "little"] = "big" if file.read(4) == b"XoS." else "little"
    header, samples = int.from_bytes(file.read(4), order), int.from_bytes(file.read(8), order)
    return 4 + header + 4 * samples if samples < 1 << 60 else 0


def _chunks(file: BinaryIO, at: int, size: int, order: Literal["big", "little"]) -> Iterator[tuple[bytes, int, int]]:
    """(identifier, start of the payload, length) of each chunk, aligned to 2 bytes."""
    while at + 8 <= size:
        file.seek(at)
        name, length = file.read(4), int.from_bytes(file.read(4), order)
        yield name, at + 8, length
        at += 8 + length + length % 2


ENDS: dict[bytes, Callable[[BinaryIO, int], int]] = {
    b"RIFF": riff_end,
    b"RIFX": riff_end,
    b"RF64": riff_end,
    b"BW64": riff_end,
    b"FORM": aiff_end,
    b"riff": w64_end,
    b".snd": au_end,
    b"dns.": au_end,
    b"Crea": voc_end,
    b"NIST": nist_end,
    b".SoX": sox_end,
    b"XoS.": sox_end,
}
"""By the first four bytes of a file."""


def audio_end(file: BinaryIO, size: int) -> int:
    """Return where the audio of a file ends by its headers; 0 for another format, and where they do not state it.

    size: the number of its bytes.
    """
    file.seek(0)
    end = ENDS.get(file.read(4))
    return 0 if end is None else end(file, size)
