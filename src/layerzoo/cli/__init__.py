"""The command line: parse and print only. Each verb is a module of its own, imported when it is called.

Data goes to standard output, everything else to standard error. Exit codes: 0 ok; 1 done, but some items failed or a
check found something; 2 wrong usage; 3 not found; 4 plugin unusable; 5 refused for safety; 6 unavailable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from layerzoo.errors import LayerzooError, nearest

_INTERRUPTED = 130  # as shells report a process that Ctrl-C ended


class LazyGroup(click.Group):
    """Commands by name, each as ``module:attribute``, imported when it is asked for."""

    def __init__(self, *args: Any, lazy: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, attribute = self._lazy[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if close := nearest(args[0], list(self._lazy)):
                raise click.UsageError(f"{error.message} Nearest: {', '.join(close)}.", ctx) from None
            raise


@click.group(
    cls=LazyGroup,
    lazy={
        "list": "layerzoo.cli.listing:command",
        "search": "layerzoo.cli.search:command",
        "show": "layerzoo.cli.show:command",
        "layers": "layerzoo.cli.layers:command",
        "extract": "layerzoo.cli.extract:command",
        "plugin": "layerzoo.cli.plugin:group",
        "doctor": "layerzoo.cli.doctor:command",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="layerzoo", prog_name="zoo")
def zoo() -> None:
    """One zoo for every backbone: name a model and a layer, get a feature matrix."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: one clean message for what is wrong, never a traceback of ours."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = zoo.main(arguments, prog_name="zoo", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except LayerzooError as error:
        click.echo(f"zoo: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader has seen enough (`zoo list | head`). What is still buffered has nowhere to go at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as click does when it is the one to notice
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
