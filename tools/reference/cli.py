"""Generate the page of the command line from click's commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
from tools.reference.markdown import bullets, code, link, page, prose

from layerzoo.cli import zoo

_VERBATIM = "\b\n"


def cli_page() -> str:
    """Document every command with its arguments and options."""
    context = click.Context(zoo, info_name="zoo", **zoo.context_settings)
    commands = list(_commands(zoo, context))
    return page(
        "Command line",
        _text(zoo.help),
        bullets(_options(context)),
        _text(zoo.epilog),
        bullets(f"{link(command.command_path)}: {command.command.get_short_help_str(200)}" for command in commands),
        *(part for command in commands for part in _parts(command)),
    )


def _commands(group: click.Group, context: click.Context) -> Iterator[click.Context]:
    """Yield the context of every command in a group and its subgroups."""
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


def _text(help_text: str | None) -> str:
    """Convert a help text to Markdown. Paragraphs that click does not wrap become code blocks."""
    paragraphs = inspect.cleandoc(help_text or "").split("\n\n")
    return "\n\n".join(
        code(paragraph.removeprefix(_VERBATIM), "text") if paragraph.startswith(_VERBATIM) else prose(paragraph)
        for paragraph in paragraphs
    )


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            names, description = record
            yield f"`{names}`: {' '.join(description.split())}" if description else f"`{names}`"
