"""Printing rows: as a table for people; as ids, JSON or JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar, get_args

import click

from layerzoo.cli.choice import OneOf
from layerzoo.cli.messages import say
from layerzoo.cli.streams import stdout
from layerzoo.printable import printable, printable_json, speaks_unicode

Format = Literal["table", "json", "jsonl", "ids"]
CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class PrintedRow:
    """One item to print. A plain class: a dataclass takes longer to define than a list to print."""

    __slots__ = ("cells", "id", "plain")

    def __init__(self, id: str, plain: Callable[[], dict[str, Any]], cells: Sequence[Any] = ()) -> None:
        """Describe an item in each of the formats.

        Args:
            id: the line that ``--format ids`` prints.
            plain: returns the object that ``--format json`` prints; called only for that format.
            cells: the cells of the table; None is an empty cell, and a column of None alone is omitted.
        """
        self.id = id
        self.plain = plain
        self.cells = cells


def format_option(piped: Format) -> Callable[[CommandT], CommandT]:
    """``--format``: a table on a terminal, else what suits a pipe."""

    def choose(ctx: click.Context, parameter: click.Parameter, value: Format | None) -> Format:
        return value or ("table" if stdout().isatty() else piped)

    return click.option(
        "--format",
        "format_",
        type=OneOf(get_args(Format)),
        callback=choose,
        help=f"How to print.  [default: table on a terminal, else {piped}]",
    )


def print_rows(rows: Iterable[PrintedRow], format_: Format, columns: Sequence[str]) -> list[str]:
    """Many things: a table, one array of JSON, one JSON object a line, or one id a line.

    columns: the headings of a table, the most important first. Where there is no room for all, the last are left out,
    and standard error says which. Returns: those.
    """
    if format_ == "table":
        return print_table([row.cells for row in rows], columns)
    if format_ == "json":
        _print_array(rows)
    elif format_ == "jsonl":
        _write_lines(to_json(row.plain()) for row in rows)
    else:
        print_lines(row.id for row in rows)
    return []


def print_one(row: PrintedRow, format_: Format) -> None:
    """One thing: its facts one below the other, its JSON object, or its id."""
    if format_ == "table":
        from layerzoo.cli.table import fact_lines, terminal_width

        print_lines(fact_lines(row.cells, width=terminal_width()))
    elif format_ == "ids":
        print_lines([row.id])
    else:
        print_json(row.plain(), indent=2 if format_ == "json" else None)


def count(number: int | None) -> str | None:
    """A number of parameters or FLOPs, short: 950, 22.7k, 4.65M, 1.2G."""
    if number is None:
        return None
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return str(number)


def counted(number: int, noun: str) -> str:
    """A number of things, in words: 1 problem, 2 problems."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(count: int) -> str:
    """A number of bytes, short, in powers of 1000: 950 B, 22.7 kB, 4.65 MB, 1.2 GB."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count} B"


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on standard output, without what would drive a terminal."""
    _write_lines(map(printable, lines))


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON on standard output."""
    _write_lines([to_json(value, indent=indent)])


def _write_lines(lines: Iterable[str]) -> None:
    # click.echo flushes after every line, which takes a second for a hundred thousand.
    stdout().writelines(f"{line}\n" for line in lines)


def _print_array(rows: Iterable[PrintedRow]) -> None:
    """One element after the other: an array of everything would be in memory twice."""
    from textwrap import indent

    elements = (indent(to_json(row.plain(), indent=2), "  ") for row in rows)
    if (first := next(elements, None)) is None:
        _write_lines(["[]"])
        return
    stdout().write(f"[\n{first}")
    stdout().writelines(f",\n{element}" for element in elements)
    stdout().write("\n]\n")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON as it is printed: in ASCII where nothing else can be written, and with nothing that drives a terminal."""
    return printable_json(json.dumps(value, ensure_ascii=not speaks_unicode(stdout()), indent=indent))


def print_table(rows: Sequence[Sequence[Any]], columns: Sequence[str], *, squeeze: bool = False) -> list[str]:
    """Rows of cells under their headings: see :class:`layerzoo.cli.table.Table`. Returns: what had no room."""
    from layerzoo.cli.table import Table, terminal_width

    table = Table(columns, rows, width=terminal_width(), squeeze=squeeze)
    print_lines(table.lines(ruled=stdout().isatty()))
    stdout().flush()  # so that notes about a table are printed below it
    if table.left_out:
        say(f"No room for: {', '.join(table.left_out)}. A wider terminal or --format json has all.")
    return table.left_out
