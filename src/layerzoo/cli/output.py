"""Printing rows: as a table for people; as ids, JSON or JSON lines for programs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import click

from layerzoo.cli.choice import WordChoice
from layerzoo.cli.messages import say
from layerzoo.cli.streams import stdout
from layerzoo.printable import printable, printable_json, speaks_unicode

Format = Literal["table", "json", "jsonl", "ids"]
CommandT = TypeVar("CommandT", bound=Callable[..., Any])
_TABLE_EDGE = 4
"""The lines of a heading, a rule, a count and the prompt."""


class PrintedRow:
    """One item to print. A plain class: a dataclass takes longer to define than a list to print."""

    __slots__ = ("cells", "id", "to_dict")

    def __init__(self, id: str, to_dict: Callable[[], dict[str, Any]], cells: Sequence[Any] = ()) -> None:
        """Describe an item in each of the formats.

        Args:
            id: the line that ``--format ids`` prints.
            to_dict: returns the object that ``--format json`` prints; called only for that format.
            cells: the cells of the table; None is an empty cell, and a column of None alone is omitted.
        """
        self.id = id
        self.to_dict = to_dict
        self.cells = cells


def format_option(piped: Format) -> Callable[[CommandT], CommandT]:
    """Add ``--format``: by default a table on a terminal, else the format ``piped``."""

    def choose(ctx: click.Context, parameter: click.Parameter, value: Format | None) -> Format:
        return value or ("table" if stdout().isatty() else piped)

    return click.option(
        "--format",
        "format_",
        type=WordChoice(get_args(Format)),
        callback=choose,
        help=f"The output format.  [default: table on a terminal, else {piped}]",
    )


def print_rows(rows: Iterable[PrintedRow], format_: Format, columns: Sequence[str], *, wrap: bool = True) -> list[str]:
    """Print rows as a table, as one JSON array, as one JSON object per line, or as one id per line.

    Args:
        rows: the rows.
        format_: the format.
        columns: the headings of a table, the most important first. The last ones are omitted where the terminal is too
            narrow, with a note on standard error.
        wrap: wrap long cells of a table. False: one line for each row.
    Returns: the omitted headings.
    """
    if format_ == "table":
        return print_table([row.cells for row in rows], columns, wrap=wrap)
    if format_ == "json":
        _print_array(rows)
    elif format_ == "jsonl":
        _write_lines(to_json(row.to_dict()) for row in rows)
    else:
        print_lines(row.id for row in rows)
    return []


@contextlib.contextmanager
def paged(rows: int, format_: Format) -> Iterator[None]:
    """Show what is printed within in the pager, if it is a table on a terminal that is too low for its rows.

    The pager is the program that the environment variable PAGER names, else ``less``; an empty text or
    ``cat`` disables it. A pager that ends early is no error.
    """
    if format_ == "table" and stdout().isatty() and rows + _TABLE_EDGE > _terminal_height():
        from layerzoo.cli.pager import in_pager

        with in_pager():
            yield
    else:
        yield


def _terminal_height() -> int:
    try:
        return os.get_terminal_size(stdout().fileno()).lines
    except (OSError, ValueError):
        return sys.maxsize


def print_one(row: PrintedRow, format_: Format) -> None:
    """Print one row as a list of facts, as a JSON object, or as its id."""
    if format_ == "table":
        from layerzoo.cli.table import fact_lines, terminal_width

        print_lines(fact_lines(row.cells, width=terminal_width()))
    elif format_ == "ids":
        print_lines([row.id])
    else:
        print_json(row.to_dict(), indent=2 if format_ == "json" else None)


def count(number: int | None) -> str | None:
    """Format a number of parameters or FLOPs: 950, 22.7k, 4.65M, 1.2G."""
    if number is None:
        return None
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return str(number)


def counted(number: int, noun: str) -> str:
    """Format a number with its noun: 1 problem, 2 problems."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(count: int) -> str:
    """Format a number of bytes in powers of 1000: 950 B, 22.7 kB, 4.65 MB, 1.2 GB."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count} B"


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on standard output, with control characters escaped."""
    _write_lines(map(printable, lines))


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON on standard output."""
    _write_lines([to_json(value, indent=indent)])


def _write_lines(lines: Iterable[str]) -> None:
    # click.echo flushes after every line, which takes a second for a hundred thousand.
    stdout().writelines(f"{line}\n" for line in lines)


def _print_array(rows: Iterable[PrintedRow]) -> None:
    """Print a JSON array element by element: the whole array would be in memory twice."""
    from textwrap import indent

    elements = (indent(to_json(row.to_dict(), indent=2), "  ") for row in rows)
    if (first := next(elements, None)) is None:
        _write_lines(["[]"])
        return
    stdout().write(f"[\n{first}")
    stdout().writelines(f",\n{element}" for element in elements)
    stdout().write("\n]\n")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return JSON with control characters escaped, in ASCII where the stream cannot encode anything else."""
    return printable_json(json.dumps(value, ensure_ascii=not speaks_unicode(stdout()), indent=indent))


def print_table(
    rows: Sequence[Sequence[Any]], columns: Sequence[str], *, squeeze: bool = False, wrap: bool = True
) -> list[str]:
    """Print rows of cells under headings: see :class:`layerzoo.cli.table.Table`. Returns: the omitted headings."""
    from layerzoo.cli.table import Table, terminal_width

    table = Table(columns, rows, width=terminal_width(), squeeze=squeeze, wrap=wrap)
    print_lines(table.lines(ruled=stdout().isatty()))
    stdout().flush()  # so that notes about a table are printed below it
    if table.left_out:
        say(f"No space for: {', '.join(table.left_out)}. A wider terminal or --format json shows all.")
    return table.left_out


def results_text(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Return results in one line, as in ``imagenet: acc1 80.858, acc5 95.434; coco: box-map 37``."""
    return "; ".join(
        f"{dataset}: {', '.join(f'{name} {value}' for name, value in results.items())}"
        for dataset, results in metrics.items()
    )
