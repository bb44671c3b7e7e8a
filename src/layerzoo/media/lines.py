"""Lines of a file or a pipe, one at a time, however long the whole is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from layerzoo.media.sample import UnusableError

MAX_LINE_BYTES = 1 << 24
_BLOCK_BYTES = 1 << 17


def lines(file: BinaryIO, *, keep_ends: bool = False) -> Iterator[bytes | UnusableError]:
    r"""Yield each line of a file.

    A line ends with LF, CRLF or CR (``\n``, ``\r\n``, ``\r``). Nothing else ends a line: neither a form feed nor a
    Unicode separator. An end of line at the end of the file begins no further line. A byte order mark at the beginning
    is left out.

    Args:
        file: open for reading. A pipe is read as its data arrives.
        keep_ends: whether each line keeps its end, as the csv module requires.

    Yields: the bytes of a line; an UnusableError in place of a line of more than 16 MiB, which is not kept in memory.
    """
    for number, line in enumerate(_raw_lines(file)):
        if isinstance(line, UnusableError):
            yield line
            continue
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
        yield text if keep_ends else _without_end(text)


def _raw_lines(file: BinaryIO) -> Iterator[bytes | UnusableError]:
    """Yield the lines with their ends; bytes.splitlines knows the three ends of a line and no others."""
    read_block = getattr(file, "read1", file.read)
    remainder, skips = b"", False  # skips: the beginning of this line was too long, and has been reported
    while block := read_block(_BLOCK_BYTES):
        *complete, remainder = (remainder + block).splitlines(keepends=True)
        if remainder.endswith(b"\n"):  # after CR, LF may follow in the next block
            complete.append(remainder)
            remainder = b""
        for line in complete:
            if not skips:
                yield _checked(line)
            skips = False
        if skips or len(remainder) > MAX_LINE_BYTES + 1:  # the line continues, or ends with the CR read so far
            ends = remainder.endswith(b"\r")
            if not skips:
                yield _checked(remainder)
            remainder, skips = (b"\r" if ends else b""), True
    if remainder and not skips:
        yield _checked(remainder)


def _checked(line: bytes) -> bytes | UnusableError:
    if len(line) > MAX_LINE_BYTES and len(_without_end(line)) > MAX_LINE_BYTES:
        return UnusableError(f"a line of more than {MAX_LINE_BYTES >> 20} MiB")
    return line


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")
