"""What `zoo list` and `zoo search` share: the filters, and the rows of models."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from layerzoo.cli.output import Format, Row, count, print_rows
from layerzoo.registry import registry
from layerzoo.spec import MODALITIES, ModelSpec

COLUMNS = ("model", "modality", "params", "license", "summary")
CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


class Count(click.ParamType[int]):
    """A whole number, with k, M or G behind it or not: 500k, 25M, 1.5G."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgb]?)", str(value).strip().lower())
        if not found:
            self.fail(f"'{value}' is not a number of parameters such as 500k, 25M or 1.5G", param, ctx)
        return int(float(found[1]) * _UNITS[found[2]])


def filter_options(command: CommandT) -> CommandT:
    """The options by which models are chosen."""
    for option in (
        click.option("--max-params", type=Count(), metavar="N", help="At most so many parameters: 25M, 500k."),
        click.option("--license", metavar="LICENSE", help="A license, such as apache-2.0."),
        click.option("--plugin", metavar="NAME", help="A plugin: its namespace or its distribution."),
        click.option("--modality", type=click.Choice(MODALITIES), help="What goes in."),
    ):
        command = option(command)
    return command


def print_models(format_: Format, **filters: Any) -> None:
    """Print the models that fit, and say so on standard error when none does."""
    zoo = registry()
    if filters.get("plugin"):
        zoo.plugin(filters["plugin"])  # a name that no plugin has is a mistake, not an empty list
    if format_ == "ids":
        rows = [Row(model, dict) for model in zoo.ids(**filters)]
    else:
        rows = [_row(spec) for spec in zoo.models(**filters)]
    if rows or format_ != "table":
        print_rows(rows, format_, COLUMNS)
    if not rows:
        click.echo("No model fits. All models: zoo list", err=True)
    if problems := zoo.problems():
        click.echo(f"{len(problems)} problem(s) in registry files, see: zoo doctor", err=True)


def _row(spec: ModelSpec) -> Row:
    return Row(spec.id, spec.to_dict, (spec.id, spec.modality, count(spec.params), spec.license, spec.summary))
