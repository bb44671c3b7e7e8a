"""Lines of a file or a pipe, one at a time, however long the whole is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from layerzoo.media.sample import UnusableError

MAX_LINE_BYTES = 1 << 24


def lines(file: BinaryIO) -> Iterator[bytes | UnusableError]:
    """Each line without its end (LF or CRLF); an UnusableError in place of one longer than 16 MiB, which is not kept.

    A byte order mark at the beginning is left out; an end of line at the very end begins no further line.
    """
    mark = b"\xef\xbb\xbf"
    while line := file.readline(MAX_LINE_BYTES + 2):
        line, mark = line.removeprefix(mark), b""
        if len(line.rstrip(b"\r\n")) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
            yield UnusableError(f"a line of more than {MAX_LINE_BYTES >> 20} MiB")
        else:
            yield line.removesuffix(b"\n").removesuffix(b"\r")
