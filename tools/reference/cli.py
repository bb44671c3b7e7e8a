"""The page of the command line, as click knows it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
from tools.reference.markdown import bullets, code, link, page, prose

from layerzoo.cli import zoo

_KEPT = "\b\n"


def cli_page() -> str:
    """Every command with its arguments and options."""
    context = click.Context(zoo, info_name="zoo", **zoo.context_settings)
    commands = list(_commands(zoo, context))
    return page(
        "Command line",
        _text(zoo.help),
        bullets(_options(context)),
        _text(zoo.epilog),
        bullets(f"{link(each.command_path)}: {each.command.get_short_help_str(200)}" for each in commands),
        *(part for each in commands for part in _parts(each)),
    )


def _commands(group: click.Group, context: click.Context) -> Iterator[click.Context]:
    """Every command below a group, each with the context in which it is called."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            inner = click.Context(command, parent=context, info_name=name)
            if isinstance(command, click.Group):
                yield from _commands(command, inner)
            else:
                yield inner


def _parts(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## {context.command_path}"
    yield code(f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}", "console")
    yield _text(command.help)
    yield bullets(_options(context))


def _text(said: str | None) -> str:
    """What ``--help`` says. Paragraphs that keep their lines there are blocks here."""
    paragraphs = inspect.cleandoc(said or "").split("\n\n")
    return "\n\n".join(
        code(each.removeprefix(_KEPT), "text") if each.startswith(_KEPT) else prose(each) for each in paragraphs
    )


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            names, said = record
            yield f"`{names}`: {' '.join(said.split())}" if said else f"`{names}`"
