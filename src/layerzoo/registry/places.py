"""Places in a text: line and column as editors count them, and what stands there."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

_CHUNK = 256
_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Place:
    """A token in a file. Line and column count characters from 1."""

    line: int
    column: int
    length: int = 1
    """At least 1, and never past the end of the line."""
    text: str = field(default="", compare=False, repr=False)
    """The whole line."""


class Lines:
    """The lines of a text, which end at LF, CRLF or CR.

    number: of the one line that the text is, whatever stands in it; None for a whole file.
    """

    def __init__(self, text: str, number: int | None = None) -> None:
        self._text = text
        self._first = number or 1
        self._starts = [0]
        self._lines: list[str] = []
        for found in _BREAK.finditer(text) if number is None else ():
            self._lines.append(text[self._starts[-1] : found.start()])
            self._starts.append(found.end())
        self._lines.append(text[self._starts[-1] :])

    def place(self, start: int, stop: int) -> Place:
        """Where the characters from ``start`` up to ``stop`` stand, counted from 0; of several lines, the first.

        What is missing at the end of a line or of the text is marked at the last thing that is there.
        """
        if start >= len(self._text) or self._text[start] in "\r\n":
            start = self._last_before(start)
        number = bisect_right(self._starts, start) - 1
        line = self._lines[number]
        column = start - self._starts[number]
        end = min(stop - self._starts[number], len(line.rstrip()))
        return Place(self._first + number, column + 1, max(end - column, 1), line)

    def _last_before(self, start: int) -> int:
        """The position of the last character before ``start`` that is not white space; 0 where there is none."""
        while start > 0:
            begin = max(start - _CHUNK, 0)
            if found := len(self._text[begin:start].rstrip()):
                return begin + found - 1
            start = begin
        return 0
