"""The filters, the order and the output that `zoo list` and `zoo search` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from layerzoo.cli import candidates
from layerzoo.cli.choice import WholeNumber, WordChoice
from layerzoo.cli.messages import say
from layerzoo.cli.output import Format, PrintedRow, count, counted, paged, print_rows, results_text
from layerzoo.cli.streams import stdout
from layerzoo.errors import UsageError, nearest_hint
from layerzoo.modalities import MODALITIES
from layerzoo.registry import Registry, registry
from layerzoo.registry.index.query import (
    SORTS,
    MetricCondition,
    image_size,
    is_glob,
    metric_name,
    no_such,
    parameter_count,
)
from layerzoo.registry.index.search import FIELDS, Entry
from layerzoo.registry.installed.plugin import USER_NAMESPACE

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

JSON_SHAPE = (
    f"json and jsonl have, for each model, the keys {', '.join(FIELDS)}, or those that --columns names. "
    "An unknown value is null. size_px is [height, width]; install is the command that installs a model, "
    "null where it is installed. The whole declaration of a model: zoo show MODEL"
)

_INSTALLED = {"installed": True, "not-installed": False, "all": None}
_COLUMNS = ("id", "modality", "params", "width", "license", "summary")
_NOUNS = {"task": "task", "trained_on": "training data", "language": "language"}


class ParameterCount(click.ParamType[int]):
    """A number of parameters: see :func:`parameter_count`."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parameter_count(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class ImageSize(click.ParamType[tuple[int, int]]):
    """An image size: see :func:`image_size`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        try:
            return image_size(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class ColumnNames(click.ParamType[tuple[str, ...]]):
    """Comma-separated column names."""

    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = [name.strip() for name in str(value).split(",")]
        for name in names:
            if name not in FIELDS:
                self.fail(str(no_such("column", name, FIELDS)), param, ctx)
        return tuple(dict.fromkeys(names))


_POSITIVE = WholeNumber(min=1)


def filter_options(command: CommandT) -> CommandT:
    """Add the options that filter and sort models to a command."""
    options = [
        click.option("--modality", type=WordChoice(MODALITIES), help="The kind of input."),
        click.option(
            "--plugin",
            metavar="NAME",
            shell_complete=candidates.plugins,
            help="A plugin, by namespace or package.",
        ),
        click.option("--builder", metavar="NAME", help="The builder of the network: timm, transformers, …"),
        click.option("--license", metavar="LICENSE", help="A license, such as apache-2.0."),
        click.option(
            "--task",
            metavar="TASK",
            shell_complete=candidates.tags("tasks"),
            help="A task of the Hugging Face hub: image-classification, automatic-speech-recognition, …",
        ),
        click.option(
            "--trained-on",
            metavar="DATA",
            shell_complete=candidates.tags("trained_on"),
            help="A data set that the weights were trained on: imagenet-21k, …",
        ),
        click.option(
            "--language",
            metavar="LANGUAGE",
            shell_complete=candidates.tags("languages"),
            help="A language, by its code or English name, or multilingual.",
        ),
        click.option("--min-params", type=ParameterCount(), metavar="N", help="At least N parameters: 500k, 1.5G."),
        click.option("--max-params", type=ParameterCount(), metavar="N", help="At most N parameters: 25M."),
        click.option("--size-px", type=ImageSize(), metavar="SIZE", help="Images or frames of this size: 224, 384x256"),
        click.option("--rate-hz", type=_POSITIVE, metavar="N", help="Audio at this sample rate: 16000."),
        click.option(
            "--width",
            type=_POSITIVE,
            metavar="N",
            help="N features per sample, at the default layer and pooling.",
        ),
        click.option("--max-width", type=_POSITIVE, metavar="N", help="At most N features per sample."),
        click.option(
            "--metric",
            multiple=True,
            metavar="CONDITION",
            help="A stated result, as in 'imagenet-acc1>=80'. Repeatable.",
        ),
        click.option(
            "--installed",
            "availability",
            flag_value="installed",
            default=True,
            help="Installed models (default).",
        ),
        click.option(
            "--not-installed",
            "availability",
            flag_value="not-installed",
            help="Models that pip can install.",
        ),
        click.option("--all", "availability", flag_value="all", help="All models, installed or not."),
        click.option(
            "--sort",
            metavar="KEY",
            shell_complete=candidates.separated(SORTS),
            help=f"{', '.join(SORTS)}, or a metric such as imagenet-acc1; the prefix - sorts in descending order. "
            "Unknown values come last.",
        ),
        click.option("--limit", type=_POSITIVE, metavar="N", help="At most N models."),
        click.option(
            "--columns",
            type=ColumnNames(),
            metavar="A,B,…",
            shell_complete=candidates.separated(FIELDS),
            help="The columns of a table, or the keys of json and jsonl, in this order.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _print_undeclared(zoo: Registry, filters: dict[str, Any]) -> None:
    """Print how many models a filter leaves out because they do not declare its value."""
    if unsized := zoo.unsized(**filters):
        hint = "To determine it: zoo layers --trace MODEL"
        say(f"Omitted: {counted(unsized, 'model')} with an unknown number of parameters. {hint}")
    for name, number in zoo.undeclared(**filters).items():
        say(f"Omitted: {counted(number, 'model')} whose {_NOUNS[name]} the catalogues do not state")


def print_models(
    format_: Format,
    *,
    availability: str,
    columns: Sequence[str] | None,
    sort: str | None,
    limit: int | None,
    **filters: Any,
) -> None:
    """Print the models that match, and a note on standard error when none does."""
    if columns and format_ == "ids":
        raise UsageError("--columns has no effect on ids, which a pipe gets. Next: add --format table, json or jsonl")
    zoo = registry()
    filters["installed"] = _INSTALLED[availability]
    _check_plugin(zoo, filters)
    shown_metrics = _metrics(sort, filters["metric"]) if format_ == "table" and not columns else ()
    if format_ == "ids":
        rows = [PrintedRow(model, dict) for model in zoo.ids(**filters, sort=sort, limit=limit)]
    else:
        names = columns or (FIELDS if format_ != "table" else _columns(availability, shown_metrics))
        rows = [_row(entry, names) for entry in zoo.entries(**filters, sort=sort, limit=limit)]
    if rows or format_ != "table":
        with paged(len(rows), format_):
            print_rows(rows, format_, columns or _columns(availability, shown_metrics))
    stdout().flush()
    _print_undeclared(zoo, filters)
    if rows and (texts := zoo.matched_texts(**filters)):
        _print_partly_matched(zoo, filters, texts)
    if not rows:
        say(_nothing_found(zoo, filters))
    elif format_ == "table":
        is_part = len(rows) == limit and (number := zoo.count(**filters)) > limit
        say(f"The first {limit:,} of {number:,} models." if is_part else f"{counted(len(rows), 'model')}.")
    if problems := zoo.problems():
        say(f"{counted(len(problems), 'problem')} in registry files, see: zoo doctor")


def _print_partly_matched(zoo: Registry, filters: dict[str, Any], texts: Sequence[str]) -> None:
    """Print which words of a search the models match, where none matches all."""
    shown = " or ".join(f"'{text}'" for text in texts[:3])
    say(f"No model matches all words; these match {shown}{' or others' if texts[3:] else ''}.")
    others = {**filters, "installed": False}
    if filters["installed"] is True and not zoo.matched_texts(**others) and (number := zoo.count(**others)):
        say(f"{counted(number, 'model')} that can be installed match all words: add --not-installed")


def _columns(availability: str, metrics: Sequence[str]) -> tuple[str, ...]:
    first, last = _COLUMNS[:4], _COLUMNS[4:] if availability == "installed" else ("install", "summary")
    return (*first[:1], *metrics, *first[1:], *last)


def _metrics(sort: str | None, conditions: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the metrics by which a list is sorted and filtered."""
    key = (sort or "id").removeprefix("-")
    names = [] if key in SORTS else [metric_name(key)]
    return tuple(dict.fromkeys([*names, *(MetricCondition.parse(text).name for text in conditions)]))


def _row(entry: Entry, columns: Sequence[str]) -> PrintedRow:
    fields = entry.to_dict()
    return PrintedRow(
        entry.id,
        lambda: {name: fields[name] for name in columns},
        [_cell(name, getattr(entry, name) if name in FIELDS else _result(entry, name)) for name in columns],
    )


def _result(entry: Entry, name: str) -> Any:
    """Return the result of a model by the name of the metric; None if there is none."""
    by_name = {
        metric_name(dataset, metric): value
        for dataset, results in (entry.metrics or {}).items()
        for metric, value in results.items()
    }
    return by_name.get(name)


def _cell(column: str, value: Any) -> str | None:
    if column == "params":
        return count(value)
    if column == "size_px" and value is not None:
        return " × ".join(map(str, value))
    if column == "metrics" and value is not None:
        return results_text(value)
    if isinstance(value, tuple):
        return ", ".join(value) or None
    if column == "installed":
        return "yes" if value else "no"
    return None if value is None else str(value)


def _check_plugin(zoo: Registry, filters: dict[str, Any]) -> None:
    """Raise NotFoundError for a plugin that does not exist: an empty list would hide the mistake."""
    plugin = filters["plugin"]
    if plugin in (None, USER_NAMESPACE):
        return
    names = {name for namespace, facts in zoo.published().items() for name in (namespace, facts["package"])}
    if filters["installed"] or plugin not in names:
        zoo.plugin(plugin)


def _nothing_found(zoo: Registry, filters: dict[str, Any]) -> str:
    """Return the likely reason why no model matches, and the next step."""
    if error := zoo.unknown_value(**{**filters, "plugin": None}):
        return str(error)[:1].upper() + str(error)[1:]
    if filters["installed"] is True and (number := zoo.count(**{**filters, "installed": False})):
        models = "1 that is not installed does" if number == 1 else f"{number:,} that are not installed do"
        return f"No installed model matches, but {models}: add --not-installed"
    if filters["installed"] is False and (number := zoo.count(**{**filters, "installed": True})):
        models = "1 that is installed does" if number == 1 else f"{number:,} that are installed do"
        return f"No model that could be installed matches, but {models}: omit --not-installed"
    if text := filters.get("text"):
        return f"No model matches '{text[:100]}'. {nearest_hint(zoo.nearest(text))}All models: zoo list"
    if (pattern := filters.get("pattern")) and not is_glob(pattern) and zoo.count(pattern=f"*{pattern}*"):
        return f"No model is named {pattern}. Models with such a part in their name: zoo list '*{pattern}*'"
    return "No model matches. All models: zoo list"
