"""What `zoo list` and `zoo search` share: the filters, the order, and the lines of models."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from layerzoo.cli import candidates
from layerzoo.cli.choice import OneOf, WholeNumber
from layerzoo.cli.messages import say
from layerzoo.cli.output import Format, PrintedRow, count, counted, print_rows
from layerzoo.cli.streams import stdout
from layerzoo.errors import UsageError, nearest
from layerzoo.modalities import MODALITIES
from layerzoo.registry import Registry, registry
from layerzoo.registry.entry import FIELDS, Entry
from layerzoo.registry.filters import SORTS, no_such
from layerzoo.registry.installed import USER_NAMESPACE

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

JSON_SHAPE = (
    f"json and jsonl have, of each model, {', '.join(FIELDS)}, or those of them that --columns names. What is not "
    "known is null. size_px is [height, width]; install is the command that brings a model, null where it is "
    "installed. All that is declared about one model: zoo show MODEL"
)

_INSTALLED = {"installed": True, "not-installed": False, "all": None}
_COLUMNS = ("id", "modality", "params", "width", "license", "summary")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


class Count(click.ParamType[int]):
    """A whole number, with k, M or G behind it or not: 500k, 25M, 1.5G."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(\d{1,18}(?:\.\d+)?)([kmgb]?)", str(value).strip().lower())
        if not found:
            self.fail(f"'{value}' is not a number of parameters such as 500k, 25M or 1.5G", param, ctx)
        return int(float(found[1]) * _UNITS[found[2]])


class Size(click.ParamType[tuple[int, int]]):
    """The side of a square, or height and width: 224, 384x256."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,18})(?:[x×](\d{1,18}))?", str(value).strip().lower())
        if not found:
            self.fail(f"'{value}' is not a size such as 224 or, height first, 384x256", param, ctx)
        return int(found[1]), int(found[2] or found[1])


class Columns(click.ParamType[tuple[str, ...]]):
    """Names of columns with commas between them."""

    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = [name.strip() for name in str(value).split(",")]
        for name in names:
            if name not in FIELDS:
                self.fail(str(no_such("column", name, FIELDS)), param, ctx)
        return tuple(dict.fromkeys(names))


_POSITIVE = WholeNumber(min=1)


def filter_options(command: CommandT) -> CommandT:
    """The options by which models are chosen and put in order."""
    options = [
        click.option("--modality", type=OneOf(MODALITIES), help="What goes in."),
        click.option(
            "--plugin",
            metavar="NAME",
            shell_complete=candidates.plugins,
            help="A plugin: namespace or package.",
        ),
        click.option("--builder", metavar="NAME", help="Who makes the network: timm, transformers, …"),
        click.option("--license", metavar="LICENSE", help="A license, such as apache-2.0."),
        click.option("--min-params", type=Count(), metavar="N", help="At least so many parameters: 500k, 1.5G."),
        click.option("--max-params", type=Count(), metavar="N", help="At most so many parameters: 25M."),
        click.option("--size-px", type=Size(), metavar="SIZE", help="Pictures and frames of this size: 224, 384x256."),
        click.option("--rate-hz", type=_POSITIVE, metavar="N", help="Audio at this many samples a second: 16000."),
        click.option(
            "--width", type=_POSITIVE, metavar="N", help="So many values a sample, at the default layer and pooling."
        ),
        click.option("--max-width", type=_POSITIVE, metavar="N", help="At most so many values a sample."),
        click.option("--installed", "availability", flag_value="installed", default=True, help="This is the default."),
        click.option(
            "--not-installed", "availability", flag_value="not-installed", help="Models that pip install would bring."
        ),
        click.option("--all", "availability", flag_value="all", help="Installed or not."),
        click.option(
            "--sort",
            metavar="KEY",
            shell_complete=candidates.separated(SORTS),
            help=f"{', '.join(SORTS)}; with - in front the largest first. What is not known comes last.",
        ),
        click.option("--limit", type=_POSITIVE, metavar="N", help="The first N only."),
        click.option(
            "--columns",
            type=Columns(),
            metavar="A,B,…",
            shell_complete=candidates.separated(FIELDS),
            help="What a table, json or jsonl shall have, in this order.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def print_models(
    format_: Format,
    *,
    availability: str,
    columns: Sequence[str] | None,
    sort: str | None,
    limit: int | None,
    **filters: Any,
) -> None:
    """Print the models that fit, and say so on standard error when none does."""
    if columns and format_ == "ids":
        raise UsageError("--columns has no effect on ids, which a pipe gets. Next: add --format table, json or jsonl")
    zoo = registry()
    filters["installed"] = _INSTALLED[availability]
    _check_plugin(zoo, filters)
    if format_ == "ids":
        rows = [PrintedRow(model, dict) for model in zoo.ids(**filters, sort=sort, limit=limit)]
    else:
        shown = columns or (FIELDS if format_ != "table" else _columns(availability))
        rows = [_row(entry, shown) for entry in zoo.entries(**filters, sort=sort, limit=limit)]
    if rows or format_ != "table":
        print_rows(rows, format_, columns or _columns(availability))
    if unsized := zoo.unsized(**filters):
        stdout().flush()
        hint = "To find out the size of one: zoo layers --trace MODEL"
        say(f"Left out: {counted(unsized, 'model')} whose size is unknown until inspected. {hint}")
    if not rows:
        say(_nothing_found(zoo, filters))
    elif format_ == "table" and len(rows) == limit and (number := zoo.count(**filters)) > limit:
        say(f"The first {limit} of {number:,}.")
    if problems := zoo.problems():
        say(f"{counted(len(problems), 'problem')} in registry files, see: zoo doctor")


def _columns(availability: str) -> tuple[str, ...]:
    return _COLUMNS if availability == "installed" else (*_COLUMNS[:4], "install", "summary")


def _row(entry: Entry, columns: Sequence[str]) -> PrintedRow:
    plain = entry.to_dict()
    return PrintedRow(
        entry.id,
        lambda: {name: plain[name] for name in columns},
        [_cell(name, getattr(entry, name)) for name in columns],
    )


def _cell(column: str, value: Any) -> str | None:
    if column == "params":
        return count(value)
    if column == "size_px" and value is not None:
        return " × ".join(map(str, value))
    if column == "installed":
        return "yes" if value else "no"
    return None if value is None else str(value)


def _check_plugin(zoo: Registry, filters: dict[str, Any]) -> None:
    """A name that no plugin has is a mistake, and not an empty list."""
    plugin = filters["plugin"]
    if plugin in (None, USER_NAMESPACE):
        return
    known = {name for namespace, facts in zoo.published().items() for name in (namespace, facts["package"])}
    if filters["installed"] or plugin not in known:
        zoo.plugin(plugin)


def _nothing_found(zoo: Registry, filters: dict[str, Any]) -> str:
    """Why no model fits, where that can be told, and what to do next."""
    for facet, values in (("license", zoo.licenses), ("builder", zoo.builders)):
        asked = filters[facet]
        if asked is not None and asked.lower() not in (known := sorted({value.lower() for value in values()})):
            close = nearest(asked, known)
            hint = f"Nearest: {', '.join(close)}. " if close else ""
            return f"No model has the {facet} '{asked}'. {hint}All: {', '.join(known)}"
    if filters["installed"] is True and (number := zoo.count(**{**filters, "installed": False})):
        models = "1 that is not installed does" if number == 1 else f"{number:,} that are not installed do"
        return f"No installed model fits, but {models}: add --not-installed"
    if filters["installed"] is False and (number := zoo.count(**{**filters, "installed": True})):
        models = "1 that is installed does" if number == 1 else f"{number:,} that are installed do"
        return f"No model that could be installed fits, but {models}: leave out --not-installed"
    if filters.get("text") and len(filters["text"].split()) > 1:
        return "No model has all of these words. Try fewer of them, or: zoo list"
    return "No model fits. All models: zoo list"
