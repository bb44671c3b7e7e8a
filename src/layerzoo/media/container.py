"""What a media container says of itself, without decoding anything: its tracks, and how long it should be."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import BinaryIO

_MAX_INDEX_BYTES = 1 << 26
# A RIFF length that was never filled in, because the file was written to a pipe.
UNKNOWN_LENGTHS = range(0x7FFF0000, 1 << 32)


def missing_bytes(file: BinaryIO) -> int:
    """How many bytes a container declares beyond the end of its file; 0 where it is whole, or declares nothing.

    Knows MP4 and QuickTime, Matroska and WebM, RIFF (AVI, WAV). What a transport stream, MP3 or FLV lost at its end,
    no header tells.
    """
    file.seek(0)
    head = file.read(12)
    present = file.seek(0, os.SEEK_END)
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        declared = 0 if length in UNKNOWN_LENGTHS else length
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        declared = _matroska_end(file)
    elif re.match(rb".{4}(ftyp|moov|mdat|wide|free|skip|pnot)", head, re.DOTALL):
        declared = max((end for _, _, end in _boxes(file)), default=0)
    else:
        declared = 0
    file.seek(0)
    return max(0, declared - present)


def ogg_has_end(file: BinaryIO) -> bool:
    """Whether the last page of an Ogg file closes its stream and is whole.

    Source: RFC 3533, section 6: header_type flag 0x04, then the sizes of the segments from byte 26 on.
    """
    longest_page = 65_307
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2 * longest_page))
    tail = file.read()
    file.seek(0)
    page = tail[max(0, tail.rfind(b"OggS")) :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return bool(segments) and bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(segments)


def mp4_tracks(file: BinaryIO) -> set[bytes]:
    """The handlers of an MP4's tracks (``vide``, ``soun``, …); empty where its index is missing."""
    for name, start, end in _boxes(file):
        if name == b"moov":
            file.seek(start)
            index = file.read(min(end - start, _MAX_INDEX_BYTES))
            file.seek(0)
            return set(re.findall(rb"hdlr.{8}(\w{4})", index, re.DOTALL))
    file.seek(0)
    return set()


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of the payload, end) of each box at the top of an MP4 (ISO/IEC 14496-12, section 4.2)."""
    size = file.seek(0, os.SEEK_END)
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length, start = int.from_bytes(header[:4], "big"), at + 8
        if length == 1:
            length, start = int.from_bytes(header[8:16], "big"), at + 16
        elif length == 0:
            length = size - at
        if length < start - at or not re.fullmatch(rb"[\w \xa9-]{4}", header[4:8]):
            return  # not a box: trailing bytes, which players ignore
        yield header[4:8], start, at + length
        at += length


def _matroska_end(file: BinaryIO) -> int:
    """Where the segment of a Matroska file ends, by its own word; 0 where it does not say (a live recording)."""
    file.seek(4)
    header = _vint(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0
    segment = _vint(file)
    return 0 if segment is None else file.tell() + segment


def _vint(file: BinaryIO) -> int | None:
    """A variable-length integer (RFC 8794, section 4); None where every bit is one, which means: unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    bits = 7 * width
    value = int.from_bytes(first + file.read(width - 1), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
