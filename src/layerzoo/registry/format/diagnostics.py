"""Diagnostics of a registry file: problem, position and nearest names. Standard library only."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

_CHUNK = 256
_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Position:
    """A token in a file. Line and column count characters from 1."""

    line: int
    column: int
    length: int = 1
    """At least 1, and never past the end of the line."""
    text: str = field(default="", compare=False, repr=False)
    """The whole line."""


class Lines:
    """The lines of a text, which end with LF, CRLF or CR.

    Args:
        text: the text of a file or of one line.
        number: the number of the line if the text is one line of a larger file, whatever it contains; otherwise None.
    """

    def __init__(self, text: str, number: int | None = None) -> None:
        self._text = text
        self._first = number or 1
        self._starts = [0]
        self._lines: list[str] = []
        for line_break in _BREAK.finditer(text) if number is None else ():
            self._lines.append(text[self._starts[-1] : line_break.start()])
            self._starts.append(line_break.end())
        self._lines.append(text[self._starts[-1] :])

    def position(self, start: int, stop: int) -> Position:
        """Return the position of the characters from ``start`` up to ``stop``, counted from 0, on their first line.

        A position in white space at the end of a line or of the text is moved to the last character before it.
        """
        if start >= len(self._text) or self._text[start] in "\r\n":
            start = self._last_before(start)
        number = bisect_right(self._starts, start) - 1
        line = self._lines[number]
        column = start - self._starts[number]
        end = min(stop - self._starts[number], len(line.rstrip()))
        return Position(self._first + number, column + 1, max(end - column, 1), line)

    def _last_before(self, start: int) -> int:
        """Return the index of the last character before ``start`` that is not white space; 0 if there is none."""
        while start > 0:
            begin = max(start - _CHUNK, 0)
            if length := len(self._text[begin:start].rstrip()):
                return begin + length - 1
            start = begin
        return 0


Code = Literal[
    "unreadable", "syntax", "unsupported", "unknown-key", "missing-key", "wrong-value", "duplicate", "reference"
]

MEANINGS: dict[Code, str] = {
    "unreadable": "The file is there and cannot be read.",
    "syntax": "The text is not YAML, or a line of a catalogue is not JSON, in the strict form that is read here.",
    "unsupported": "The file asks for another version of the format or of layerzoo.",
    "unknown-key": "No such key exists at this position, or not in this kind of file.",
    "missing-key": "A key that must be there is not.",
    "wrong-value": "The value or the name of a key is not allowed there.",
    "duplicate": "The same thing is declared twice.",
    "reference": "A reference is dangling: an alias, a base, a default, a disabled entry, a catalogue.",
}
"""One sentence about each code. Codes are stable: programs may rely on them."""

_LONGEST_LINE = 200
_WINDOW = 120
_CONTEXT = 40
"""How many characters of a window precede the marked ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One problem of one file. ``str()`` is one line, ``file:line:column: message``."""

    path: str
    line: int = 1
    column: int = 1
    length: int = 1
    """Number of wrong characters: at least 1, and never past the end of the line."""
    text: str = ""
    """The line; of a very long line, the part around the column."""
    begin: int = 1
    """The column at which ``text`` begins: 1, except for a very long line."""
    code: Code
    message: str
    nearest: tuple[str, ...] = ()
    """The nearest valid names, the nearest first."""
    model: str | None = None
    """The id of the model that cannot be used because of it; None if it concerns the file."""

    @classmethod
    def at(
        cls,
        position: Position,
        *,
        path: str,
        code: Code,
        message: str,
        nearest: tuple[str, ...] = (),
        model: str | None = None,
    ) -> Diagnostic:
        """Return a problem at a position of a file."""
        begin, text = 1, position.text
        if len(text) > _LONGEST_LINE:
            begin = max(position.column - _CONTEXT, 1)
            text = text[begin - 1 : begin - 1 + _WINDOW]
        return cls(
            path=path,
            line=position.line,
            column=position.column,
            length=position.length,
            text=text,
            begin=begin,
            code=code,
            message=visible(message),
            nearest=nearest,
            model=model,
        )

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Diagnostic:
        """Return a diagnostic from its fields, as they are stored in JSON."""
        return cls(**{**plain, "nearest": tuple(plain["nearest"])})

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.message}"

    def marked(self) -> str:
        """Return the message with its code, and below it the line with the wrong characters marked."""
        message = f"{self}  [{self.code}]"
        if not self.text.strip():
            return message
        start = self.column - self.begin
        prefix, wrong = self.text[:start], self.text[start : start + self.length]
        cut = "…" if self.begin > 1 else ""
        number = f"{self.line:5}"
        padding = " " * len(cut) + "".join(
            "\t" if character == "\t" else " " * _width(character) for character in prefix
        )
        marker = "^" * max(sum(map(_width, wrong)), 1)
        return f"{message}\n{number} | {cut}{visible(self.text)}\n{' ' * len(number)} | {padding}{marker}"


def visible(text: str) -> str:
    """Return the text with characters that are invisible or move a terminal's cursor replaced."""
    return "".join(character if character.isprintable() or character == "\t" else "�" for character in text)


def _width(character: str) -> int:
    """Return the width of a character in columns of a terminal."""
    import unicodedata

    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
