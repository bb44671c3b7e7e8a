"""`zoo registry`: check registry files, and print their JSON Schema."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from layerzoo.cli import candidates
from layerzoo.cli.choice import WordChoice
from layerzoo.cli.messages import say
from layerzoo.cli.output import counted, print_json, print_lines
from layerzoo.errors import UsageError
from layerzoo.registry import Diagnostic


@click.group("registry")
def group() -> None:
    """Check registry files, and print their JSON Schema for editors."""


@group.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=candidates.files)
@click.option("--namespace", metavar="NAME", help="Check as the file of this plugin; `mine` is the user's own file.")
@click.option(
    "--format",
    "format_",
    type=WordChoice(("table", "json", "github")),
    default="table",
    show_default=True,
    help="github prints annotations for a workflow.",
)
@click.pass_context
def check_command(ctx: click.Context, files: Sequence[str], namespace: str | None, format_: str) -> None:
    """Check registry files, under any name, and the catalogues next to them.

    A file is checked as that of layerzoo, of a plugin (installed, or named by a pyproject.toml above it) or of a user.
    Names of other models are resolved among the installed ones. Exits with 1 when there is a problem. json is a list
    with the keys path, line, column, length, text, begin (the column where text begins), code, message, nearest, model.

    \b
    Examples:
      zoo registry check registry.yaml
      zoo registry check src/acme_zoo/registry.yaml --format github
    """
    from layerzoo.registry.check import check

    if "-" in files:
        raise UsageError("standard input cannot be checked: the rules for a file depend on its location. Give a path")
    by_file = {
        file: [_with_relative_path(problem) for problem in check(file, namespace)] for file in dict.fromkeys(files)
    }
    problems = [problem for of_file in by_file.values() for problem in of_file]
    _PRINTERS[format_](problems)
    if format_ == "table":
        say(_summary(len(problems), sum(map(bool, by_file.values())), len(by_file)))
    ctx.exit(1 if problems else 0)


@group.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of registry.yaml, for editors.

    Save it as FILE, and begin a registry.yaml with: # yaml-language-server: $schema=FILE
    """
    from layerzoo.registry.format.json_schema import json_schema

    print_json(json_schema(), indent=2)


def _with_relative_path(problem: Diagnostic) -> Diagnostic:
    """Return a problem with its path relative to the working directory where possible."""
    path = Path(problem.path)
    return replace(problem, path=str(path.relative_to(Path.cwd()))) if path.is_relative_to(Path.cwd()) else problem


def _summary(problems: int, broken: int, files: int) -> str:
    if not problems:
        return f"No problems in {counted(files, 'file')}"
    return f"{counted(problems, 'problem')} in {counted(broken, 'file')}"


def _print_table(problems: Sequence[Diagnostic]) -> None:
    for problem in problems:
        print_lines(problem.marked().split("\n"))


def _print_json(problems: Sequence[Diagnostic]) -> None:
    print_json([asdict(problem) for problem in problems], indent=2)


def _print_github(problems: Sequence[Diagnostic]) -> None:
    for problem in problems:
        facts: dict[str, Any] = {
            "file": problem.path.replace(os.sep, "/"),
            "line": problem.line,
            "col": problem.column,
            "endColumn": problem.column + problem.length,
            "title": problem.code,
        }
        properties = ",".join(f"{name}={_escaped(str(fact), in_property=True)}" for name, fact in facts.items())
        print_lines([f"::error {properties}::{_escaped(problem.message)}"])


_PRINTERS: dict[str, Callable[[Sequence[Diagnostic]], None]] = {
    "table": _print_table,
    "json": _print_json,
    "github": _print_github,
}


def _escaped(text: str, *, in_property: bool = False) -> str:
    """Escape a text for a workflow command of GitHub. Source: @actions/core, command.ts."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if in_property else text
