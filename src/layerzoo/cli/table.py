"""Text tables that fit the terminal. The first column holds names, which are never cut, so that they can be copied."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len, chop_cells

from layerzoo.cli.streams import stdout
from layerzoo.printable import printable

_GAP = "  "
_DEFAULT_WIDTH = 80
_LONGEST_KEPT_WORD = 24
_SQUEEZED = 6
_MOST_LINES = 4
_NUMBER = re.compile(r"-?\d+(\.\d+)?([kMGT]|( (s|[kMGT]?B)))?")

Lines = list[str]


def terminal_width() -> int:
    """Return the width of a line in characters: COLUMNS, else that of the terminal (also of a pager), else 80."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    for stream in (stdout(), sys.__stdout__, sys.__stderr__, sys.__stdin__):
        try:
            if stream is not None and (width := os.get_terminal_size(stream.fileno()).columns):
                return width
        except (OSError, ValueError):  # not a terminal, or closed
            continue
    return _DEFAULT_WIDTH


class Table:
    """Rows under headings, in a given width.

    Columns are ordered by importance. Text that does not fit is wrapped; where that is not enough, the last columns are
    omitted. A name that is longer than its column gets a separate line.
    """

    def __init__(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        width: int,
        squeeze: bool = False,
        wrap: bool = True,
    ) -> None:
        """Compute the widths of the columns.

        Args:
            headings: one per column.
            rows: one cell per heading each; None is an empty cell, and a column of None alone is omitted.
            width: the width of the table in characters.
            squeeze: break words instead of omitting columns.
            wrap: wrap cells instead of omitting columns.
        """
        filled = [at for at in range(len(headings)) if at == 0 or any(cells[at] is not None for cells in rows)]
        self._headings = [headings[at] for at in filled]
        self._rows = [["" if cells[at] is None else printable(str(cells[at])) for at in filled] for cells in rows]
        self._is_number = [_is_numeric(column) for column in zip(*self._rows, strict=True)] or [False] * len(filled)
        self._longest_kept_word = _SQUEEZED if squeeze else _LONGEST_KEPT_WORD
        self._wraps = wrap
        self._widths = self._fitting(width)

    @property
    def left_out(self) -> list[str]:
        """The headings of the omitted columns."""
        return self._headings[len(self._widths) :]

    def lines(self, *, ruled: bool) -> Iterator[str]:
        """Yield the heading, a rule if ``ruled``, and the rows."""
        if any(self._headings):
            yield from self._row(self._headings)
            if ruled:
                yield _GAP.join("─" * width for width in self._widths)
        for cells in self._rows:
            yield from self._row(cells)

    # ------------------------------------------------------------ widths

    def _fitting(self, width: int) -> list[int]:
        natural = self._natural_widths()
        least = [self._least(at, natural[at]) for at in range(len(natural))]
        if self._wraps and sum(natural) + len(_GAP) * (len(natural) - 1) > width:
            # A few long names must not take the space of all other columns.
            natural[0] = least[0] = min(natural[0], max(width // 2, cell_len(self._headings[0])))
        column_count = len(natural)
        while column_count > 1 and sum(least[:column_count]) + len(_GAP) * (column_count - 1) > width:
            column_count -= 1
        return _shrunk(natural[:column_count], least[:column_count], width - len(_GAP) * (column_count - 1))

    def _natural_widths(self) -> list[int]:
        columns = zip(*self._rows, strict=True) if self._rows else ([] for _ in self._headings)
        return [max(map(cell_len, (heading, *column))) for heading, column in zip(self._headings, columns, strict=True)]

    def _least(self, at: int, natural: int) -> int:
        """Return the smallest width of a column: only very long words are broken, and no cell gets too many lines."""
        if at == 0 or self._is_number[at] or not self._wraps:
            return natural
        words = (word for cells in self._rows for word in cells[at].split(" "))
        longest = min(max(map(cell_len, words), default=0), self._longest_kept_word)
        heading = max(map(cell_len, self._headings[at].split(" ")))
        tower = 0 if self._longest_kept_word == _SQUEEZED else natural // _MOST_LINES
        return min(natural, max(longest, heading, tower))

    # ------------------------------------------------------------ lines

    def _row(self, cells: Sequence[str]) -> Iterator[str]:
        name, first = cells[0], self._widths[0]
        if cell_len(name) > first:
            yield name
            if not any(cells[1 : len(self._widths)]):
                return
            name = ""
        columns = [[name], *(_folded(cell, width) for cell, width in zip(cells[1:], self._widths[1:], strict=False))]
        for at in range(max(map(len, columns))):
            line = (lines[at] if at < len(lines) else "" for lines in columns)
            padded = (
                _padded(text, width, align_right=number)
                for text, width, number in zip(line, self._widths, self._is_number, strict=False)
            )
            yield _GAP.join(padded).rstrip()


def fact_lines(facts: Sequence[tuple[str, Any]], *, width: int) -> Iterator[str]:
    """Yield labelled facts one below the other, wrapped between words."""
    label_width = max((cell_len(label) for label, _ in facts), default=0)
    for label, value in facts:
        room = max(width - label_width - len(_GAP), 1)
        for at, text in enumerate(_wrapped(printable(str(value)), room)):
            yield f"{_padded('' if at else label, label_width)}{_GAP}{text}".rstrip()


def _is_numeric(column: Sequence[str]) -> bool:
    return any(column) and all(not cell or _NUMBER.fullmatch(cell) for cell in column)


def _shrunk(natural: list[int], least: list[int], width: int) -> list[int]:
    """Return widths that fit: the widest column is narrowed first."""
    widths = list(natural)
    while sum(widths) > width:
        can_give = [at for at in range(len(widths)) if widths[at] > least[at]]
        if not can_give:
            break
        widths[max(can_give, key=widths.__getitem__)] -= 1
    return widths


def _folded(text: str, width: int) -> Lines:
    """Wrap a text between words, and inside words that are longer than a line."""
    if cell_len(text) <= width:
        return [text]
    return [piece for line in _wrapped(text, width) for piece in (chop_cells(line, width) or [""])]


def _wrapped(text: str, width: int) -> Lines:
    """Wrap a text between words only."""
    lines: Lines = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _padded(text: str, width: int, *, align_right: bool = False) -> str:
    space = " " * (width - cell_len(text))
    return space + text if align_right else text + space
