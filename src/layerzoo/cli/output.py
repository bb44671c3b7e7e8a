"""Printing rows: as a table for people; as ids, JSON or JSON lines for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import click

Format = Literal["table", "json", "jsonl", "ids"]
CommandT = TypeVar("CommandT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to print."""

    id: str
    """What ``--format ids`` prints."""
    plain: Callable[[], dict[str, Any]]
    """What ``--format json`` prints, made only when it is asked for."""
    cells: Sequence[Any] = ()
    """What the table shows; None is an empty cell, and a column of nothing else is left out."""


def format_option(piped: Format) -> Callable[[CommandT], CommandT]:
    """``--format``: a table on a terminal, else what suits a pipe."""

    def choose(ctx: click.Context, parameter: click.Parameter, value: Format | None) -> Format:
        return value or ("table" if sys.stdout.isatty() else piped)

    return click.option(
        "--format",
        "format_",
        type=click.Choice(get_args(Format)),
        callback=choose,
        help=f"How to print.  [default: table on a terminal, else {piped}]",
    )


def print_rows(rows: Iterable[Row], format_: Format, columns: Sequence[str]) -> None:
    """Many things: a table, one array of JSON, one JSON object a line, or one id a line."""
    if format_ == "table":
        _print_table(rows, columns)
    elif format_ == "json":
        click.echo(_json([row.plain() for row in rows], indent=2))
    else:
        # click.echo flushes after every line, which takes a second for a hundred thousand.
        sys.stdout.writelines(f"{row.id if format_ == 'ids' else _json(row.plain())}\n" for row in rows)


def print_one(row: Row, format_: Format) -> None:
    """One thing: its facts one below the other, its JSON object, or its id."""
    if format_ == "table":
        _print_table([Row(row.id, row.plain, pair) for pair in row.cells], ("", ""))
    elif format_ == "ids":
        click.echo(row.id)
    else:
        click.echo(_json(row.plain(), indent=2 if format_ == "json" else None))


def count(number: int | None) -> str | None:
    """A number of parameters or FLOPs, short: 950, 22.7k, 4.65M, 1.2G."""
    if number is None:
        return None
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return str(number)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _print_table(rows: Iterable[Row], columns: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [row.cells for row in rows]
    filled = [at for at in range(len(columns)) if any(cells[at] is not None for cells in lines)]
    # Two spaces between columns, so that the table of layers fits 80 characters nearly whole.
    table = Table(box=box.SIMPLE_HEAD, show_header=any(columns), show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for at in filled:
        # Text that is too wide is folded, and the first column last of all: a name that was cut off cannot be copied.
        longest_word = max(map(len, columns[at].split()), default=0)
        table.add_column(columns[at], overflow="fold", no_wrap=at == 0, min_width=longest_word)
    for cells in lines:
        table.add_row(*(Text("" if cells[at] is None else str(cells[at])) for at in filled))
    Console(file=sys.stdout, highlight=False).print(table)
