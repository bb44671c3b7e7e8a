"""Read the headers of a media container without decoding it: its tracks, and its declared length."""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, BinaryIO, NamedTuple

from layerzoo.media.declared_length import UNKNOWN_LENGTHS, audio_end

_SECTION_BYTES = 1 << 16
_MAX_INDEX_BYTES = 1 << 26
_SEARCH_BYTES = 1 << 20
_OGG_HEAD_BYTES = 40  # the longest of the headers that are read here


def missing_bytes(file: BinaryIO) -> int:
    """Return the number of bytes that a container declares beyond the end of its file; 0 if it is complete.

    Knows MP4 and QuickTime, Matroska and WebM, RIFF (AVI, WAV), Wave64, AIFF, AU, CAF, VOC, NIST SPHERE, SoX, ASF,
    and MP3 with a Xing header. Other MP3 and a transport stream have no header that states their length; FLV and
    RealMedia state a duration, which is compared with the decoded audio.
    """
    file.seek(0)
    head = file.read(12)
    present = file.seek(0, os.SEEK_END)
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        declared = 0 if length in UNKNOWN_LENGTHS else length  # some writers count its own 8 bytes, and some do not
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        declared = _matroska_end(file)
    elif re.match(rb".{4}(ftyp|moov|mdat|wide|free|skip|pnot)", head, re.DOTALL):
        declared = max((end for _, _, end in _boxes(file)), default=0)
    elif head[:4] == b"FORM":
        length = int.from_bytes(head[4:8], "big")
        declared = 0 if length in UNKNOWN_LENGTHS else length
    elif head[:4] == b"caff":
        declared = _caf_end(file, present)
    elif head[:4] == b"\x30\x26\xb2\x75":
        declared = _asf_end(file)
    else:
        declared = _xing_end(file)
    declared = max(declared, audio_end(file, present))
    file.seek(0)
    return max(0, declared - present)


class OggLink(NamedTuple):
    """One part of an Ogg file that was joined from several: from the first page of its streams to their last.

    start, stop: in bytes. is_complete: its last page is whole and closes the stream.
    samples: the number that the positions of its pages declare, after those of the first page; None where the codec is
        unknown.
    frame_samples: the most that one packet of its codec holds, at ``sample_rate_hz``.
    """

    start: int
    stop: int
    is_complete: bool
    samples: int | None
    sample_rate_hz: int
    frame_samples: int


def ogg_links(file: BinaryIO) -> list[OggLink]:
    """Return the parts of an Ogg file, in order. Source: RFC 3533, section 6."""
    links: list[OggLink] = []
    pages: list[_OggPage] = []
    for page in _ogg_pages(file):
        if page.begins and pages and not pages[-1].begins:
            links.append(_ogg_link(pages))
            pages = []
        pages.append(page)
    return [*links, _ogg_link(pages)] if pages else links


def ogg_has_end(file: BinaryIO) -> bool:
    """Return whether the last page of an Ogg file closes its stream and is whole."""
    links = ogg_links(file)
    return bool(links) and links[-1].is_complete


class _OggPage(NamedTuple):
    start: int
    stop: int
    is_whole: bool
    begins: bool
    ends: bool
    position: int
    serial: int
    packets: int
    head: bytes
    """The first bytes of the payload of a page that begins a stream."""


def _ogg_pages(file: BinaryIO) -> Iterator[_OggPage]:
    size = file.seek(0, os.SEEK_END)
    at = 0
    while at + 27 <= size:
        file.seek(at)
        header = file.read(27)
        if header[:4] != b"OggS":
            file.seek(at)
            offset = file.read(_SEARCH_BYTES).find(b"OggS", 1)
            at += offset if offset > 0 else _SEARCH_BYTES - 3
            continue
        segments = file.read(header[26])
        stop = at + 27 + header[26] + sum(segments)
        flags = header[5]
        yield _OggPage(
            start=at,
            stop=stop,
            is_whole=stop <= size and len(segments) == header[26],
            begins=bool(flags & 2),
            ends=bool(flags & 4),
            position=int.from_bytes(header[6:14], "little", signed=True),
            serial=int.from_bytes(header[14:18], "little"),
            packets=sum(length < 255 for length in segments),
            head=file.read(_OGG_HEAD_BYTES) if flags & 2 else b"",
        )
        at = stop
    file.seek(0)


def _ogg_link(pages: list[_OggPage]) -> OggLink:
    rate, frame, preskip, serial = 1, 0, 0, None
    for page in pages:
        if len(page.head) < _OGG_HEAD_BYTES:
            continue
        if page.head.startswith(b"OpusHead"):
            rate, frame, preskip, serial = 48_000, 5_760, int.from_bytes(page.head[10:12], "little"), page.serial
        elif page.head.startswith(b"\x01vorbis"):
            rate, frame, serial = int.from_bytes(page.head[12:16], "little"), 1 << (page.head[28] >> 4), page.serial
        elif page.head.startswith(b"\x7fFLAC"):
            rate, frame, serial = (
                int.from_bytes(page.head[27:30], "big") >> 4,
                int.from_bytes(page.head[19:21], "big"),
                page.serial,
            )
        elif page.head.startswith(b"Speex   "):
            rate, frame, serial = int.from_bytes(page.head[36:40], "little"), 6_400, page.serial
    audio = [page for page in pages if page.serial == serial and page.position > 0 and page.is_whole]
    streams = {page.serial for page in pages if page.begins}
    samples = None
    if serial is not None and len(streams) == 1 and audio and rate:
        # A stream cut out of a longer one does not begin at 0: only the samples after its first page are known then.
        first = audio[0].position
        samples = audio[-1].position - (preskip if first <= audio[0].packets * frame else first)
    return OggLink(
        start=pages[0].start,
        stop=pages[-1].stop,
        is_complete=pages[-1].ends and pages[-1].is_whole,
        samples=samples,
        sample_rate_hz=max(1, rate),
        frame_samples=frame,
    )


def flac_parts(file: BinaryIO) -> list[BinaryIO]:
    """Return the FLAC files that were joined to one, in order; none where the file begins as something else.

    FFmpeg reads them as one stream, and loses or repeats frames where the sample rate changes. A part begins with a
    marker and the header of a STREAMINFO block of 34 bytes (RFC 9639, section 8.2).
    """
    file.seek(0)
    marks: list[int] = []
    at, tail = 0, b""
    while block := file.read(_SEARCH_BYTES):
        if not at and not block.startswith(b"fLaC"):
            break
        marks += [at - len(tail) + mark.start() for mark in re.finditer(rb"fLaC[\x00\x80]\0\0\x22", tail + block)]
        at += len(block)
        tail = (tail + block)[-7:]
    size = file.seek(0, os.SEEK_END)
    parts: list[BinaryIO] = []
    for start, stop in pairwise([*marks, size] if len(marks) > 1 else []):
        parts.append(section(file, start, stop))
    file.seek(0)
    return parts


class FFmpegFile:
    """An open file, as FFmpeg reads it: a seek to a position that no file has fails, and raises no exception.

    A truncated or damaged file makes FFmpeg seek there, and continue where it can. PyAV would raise the OSError of a
    file, or the ValueError of bytes in memory, instead.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.tell = file.read, file.tell

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Return the new position; a negative error number where there is none."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -errno.EINVAL


def section(file: BinaryIO, start: int, stop: int) -> BinaryIO:
    """Return a part of an open file, as a separate file. Only one part may be read at a time."""
    return io.BufferedReader(_Section(file, start, stop), _SECTION_BYTES)


class _Section(io.RawIOBase):
    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self._file, self._start, self._length = file, start, stop - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), max(0, self._length - self._at))
        self._file.seek(self._start + self._at)
        data = self._file.read(count)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Xing(NamedTuple):
    """The first frame of an MP3 file, which counts the others.

    start: where it begins in the file. data: its first bytes. at: where the Xing or Info tag is in them.
    """

    start: int
    data: bytes
    at: int

    @property
    def flags(self) -> int:
        return self.data[self.at + 7]

    def field(self, bit: int) -> int:
        """Return the position of a field: frames 1, bytes 2, table of contents 4, quality 8, LAME tag 16."""
        sizes = {1: 4, 2: 4, 4: 100, 8: 4}
        return self.at + 8 + sum(size for flag, size in sizes.items() if flag < bit and self.flags & flag)

    def number(self, bit: int) -> int | None:
        """Return the number in a field of four bytes; None where it is not there."""
        at = self.field(bit)
        return int.from_bytes(self.data[at : at + 4], "big") if self.flags & bit else None


def _xing(file: BinaryIO) -> _Xing | None:
    """Return the Xing or Info tag of an MP3 file. Source: the LAME tag, revision 1; ISO/IEC 11172-3, 2.4.2.3."""
    file.seek(0)
    head = file.read(10)
    start = 0
    while head[:3] == b"ID3" and len(head) == 10:
        size = sum((byte & 127) << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
        start += 10 + size + (10 if head[5] & 16 else 0)
        file.seek(start)
        head = file.read(10)
    file.seek(start)
    padded = file.read(2048)
    data = padded.lstrip(b"\0")
    file.seek(0)
    if len(data) < 64 or data[0] != 0xFF or data[1] & 0xE6 != 0xE2:
        return None
    is_mpeg_1, is_mono = bool(data[1] & 8), data[3] >> 6 == 3
    at = 4 + ((17 if is_mono else 32) if is_mpeg_1 else (9 if is_mono else 17))
    has_tag = data[at : at + 4] in (b"Xing", b"Info")
    return _Xing(start + len(padded) - len(data), data, at) if has_tag else None


def _xing_end(file: BinaryIO) -> int:
    """Return the end of the frames of an MP3 file by its Xing or Info tag; 0 if none declares it."""
    tag = _xing(file)
    length = None if tag is None else tag.number(2)
    return 0 if tag is None or length is None else tag.start + length


def mp3_samples(file: BinaryIO) -> int | None:
    """Return the samples that an MP3 file must at least hold; None where no Xing or Info header counts its frames.

    Other headers and the bit rate give an estimate only.
    """
    tag = _xing(file)
    frames = None if tag is None else tag.number(1)
    if tag is None or frames is None:
        return None
    frame = 1152 if tag.data[1] & 8 else 576
    # Less a frame that the end may be cut off in, and the delay and padding of the encoder: 12 bits each, in the LAME
    # tag.
    lame = tag.field(16)
    trimmed = int.from_bytes(tag.data[lame + 21 : lame + 24], "big")
    return max(0, (frames - 1) * frame - (trimmed >> 12) - (trimmed & 0xFFF))


def mp4_tracks(file: BinaryIO) -> set[bytes]:
    """Return the handlers of an MP4's tracks (``vide``, ``soun``, …); empty where its index is missing."""
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


def _caf_end(file: BinaryIO, present: int) -> int:
    """Return the end of the last chunk of a CAF file (Apple Core Audio Format, section "CAF File Structure")."""
    at = 8
    while at + 12 <= present:
        file.seek(at + 4)
        length = int.from_bytes(file.read(8), "big", signed=True)
        if length < 0:
            return 0  # the data of a recording that extends to the end of the file
        at += 12 + length
    return at if at > present else 0


def _asf_end(file: BinaryIO) -> int:
    """Return the size that an ASF file declares (ASF specification, section 3.2); 0 for a broadcast, which has none."""
    file.seek(0)
    head = file.read(_SEARCH_BYTES)
    at = head.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    if at < 0 or len(head) < at + 92 or head[at + 88] & 1:
        return 0
    return int.from_bytes(head[at + 40 : at + 48], "little")


def _matroska_end(file: BinaryIO) -> int:
    """Return the declared end of the segment of a Matroska file; 0 if it is unknown (a live recording)."""
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
    """Return a variable-length integer (RFC 8794, section 4); None where every bit is one, which means: unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    bits = 7 * width
    value = int.from_bytes(first + file.read(width - 1), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
