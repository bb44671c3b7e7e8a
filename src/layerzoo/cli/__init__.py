"""The command line: it only parses and prints. Each verb is a separate module, imported when it is called.

Data goes to standard output, everything else to standard error. Exit codes: 0 ok; 1 done, but some items failed or a
check found something; 2 wrong usage; 3 not found; 4 plugin unusable; 5 refused for safety; 6 unavailable.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

import click

from layerzoo import stopping
from layerzoo.cli.messages import error_lines, escaped_stderr, say
from layerzoo.cli.streams import reserve_until_exit, reserved_stdout
from layerzoo.errors import LayerzooError
from layerzoo.local_files import NO_LOCAL_FILES
from layerzoo.notices import listen
from layerzoo.printable import print_anything, printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_ABORTED = 130  # as shells report a process that Ctrl-C ended
_COMPLETION = "_ZOO_COMPLETE"  # what the scripts of `zoo completion` set, as click names it

_EPILOG = """
\b
Begin with:
  zoo list --modality vision
  zoo layers starter/efficientnet-lite0
  zoo extract photos/ --layer stage.1 --out features.parquet
  zoo VERB --help

\b
Exit codes:
  0 ok · 1 done, but some items failed or a check found something ·
  2 wrong usage · 3 not found · 4 plugin unusable · 5 refused for safety ·
  6 unavailable (offline, not installed, no access to the cache) ·
  130 interrupted
"""


_IS_RESERVED = "_layerzoo_reserved"
_ANYWHERE = ("--no-plugins", "--no-local-files", "--offline")
"""Options of all verbs."""


class LazyGroup(click.Group):
    """Commands by name, each with its ``module:attribute`` and a summary, imported when it is called.

    Help and completion do not import them: that takes time, and a command that fails to import would break both.
    """

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, attribute = self._lazy[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        _reserve_stdout(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        commands = [(name, summary) for name, (_, summary) in self._lazy.items() if name.startswith(incomplete)]
        return [CompletionItem(name, help=summary) for name, summary in commands] + click.Command.shell_complete(
            self, ctx, incomplete
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=self._lazy, ctx=ctx) from None


def _reserve_stdout(command: click.Command) -> None:
    """Reserve standard output for the data of a command and of its subcommands. Help is printed before."""
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            _reserve_stdout(subcommand)
    elif (callback := command.callback) is not None and not hasattr(callback, _IS_RESERVED):
        command.callback = _reserved(callback)


def _reserved(callback: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(callback)
    def run(*args: Any, **kwargs: Any) -> Any:
        gc.freeze()  # modules are not searched for garbage again, nor when the interpreter ends
        gc.enable()
        with reserved_stdout():
            return callback(*args, **kwargs)

    setattr(run, _IS_RESERVED, True)
    return run


class _InterruptedError(BaseException):
    """Carry a KeyboardInterrupt through click, which would print an empty line for it."""

    def __init__(self, interrupt: KeyboardInterrupt) -> None:
        super().__init__()
        self.interrupt = interrupt


class Verbs(LazyGroup):
    """The verbs, with global options that may also follow a verb: `zoo pull MODEL --offline`."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise _InterruptedError(interrupt) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        anywhere = [argument for argument in args[:end] if argument in _ANYWHERE]
        remaining = [argument for argument in args[:end] if argument not in _ANYWHERE]
        return super().parse_args(ctx, [*anywhere, *remaining, *args[end:]])


@click.group(
    cls=Verbs,
    lazy={
        "list": ("layerzoo.cli.listing:command", "List models by id."),
        "search": ("layerzoo.cli.search:command", "Search ids, summaries, tasks, training data and languages."),
        "show": ("layerzoo.cli.show:command", "Show the declaration of a model."),
        "layers": ("layerzoo.cli.layers:command", "List the layers of a model, and the cost up to each."),
        "compare": ("layerzoo.cli.compare:command", "Show models side by side."),
        "export": ("layerzoo.cli.export:command", "Export a network up to a layer, for programs without layerzoo."),
        "extract": ("layerzoo.cli.extract:command", "Extract features from files, folders or globs."),
        "run": ("layerzoo.cli.run:command", "Extract features into a folder of parts."),
        "sweep": ("layerzoo.cli.sweep:command", "Find the layer at which to cut a model, by experiment."),
        "train": ("layerzoo.cli.train:command", "Train a head on the features of labelled files."),
        "predict": ("layerzoo.cli.predict:command", "Predict labels with a trained head."),
        "features": ("layerzoo.cli.features:group", "Check and export features."),
        "tokens": ("layerzoo.cli.tokens:command", "Report unknown words and truncated texts for a model."),
        "pull": ("layerzoo.cli.pull:command", "Download the weights of models."),
        "lock": ("layerzoo.cli.lock:command", "Record the commit and the files of models' weights."),
        "cache": ("layerzoo.cli.cache:group", "List, verify and remove the files that layerzoo keeps on this machine."),
        "plugin": ("layerzoo.cli.plugin:group", "List, show, create, check, disable and enable plugins."),
        "explain": ("layerzoo.cli.explain:command", "Explain the code of a finding of `zoo plugin check`."),
        "catalogue": ("layerzoo.cli.catalogue:group", "Build and check the catalogue of a plugin."),
        "registry": ("layerzoo.cli.registry:group", "Check registry files, and print their JSON Schema for editors."),
        "doctor": ("layerzoo.cli.doctor:command", "Check this machine, and suggest fixes."),
        "completion": ("layerzoo.cli.completion:command", "Print a completion script for bash, zsh or fish."),
    },
    subcommand_metavar="VERB …",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
@click.version_option(package_name="layerzoo", prog_name="zoo")
@click.option("--no-plugins", is_flag=True, help="Ignore all plugins, as LAYERZOO_NO_PLUGINS=1 does.")
@click.option(
    "--no-local-files",
    is_flag=True,
    help=f"Ignore registry.yaml and layerzoo.lock of the working directory, as {NO_LOCAL_FILES}=1 does.",
)
@click.option("--offline", is_flag=True, help="Open no network connection, as LAYERZOO_OFFLINE=1 does.")
@click.pass_context
def zoo(ctx: click.Context, no_plugins: bool, no_local_files: bool, offline: bool) -> None:
    """One zoo for every backbone: name a model and a layer, get a feature matrix.

    Data goes to standard output, everything else to standard error. A terminal gets a table, a pipe gets ids or JSON;
    --format chooses another format.
    """
    if offline or no_local_files:
        from layerzoo.environment import environment
    if offline:
        ctx.with_resource(environment("LAYERZOO_OFFLINE", "1"))
    if no_local_files:
        ctx.with_resource(environment(NO_LOCAL_FILES, "1"))
    if no_plugins:
        from layerzoo.registry.installed.environment import without_plugins

        ctx.with_resource(without_plugins())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. An expected error prints one message and no traceback.

    A signal ends the process with one line that describes the work that was kept: see :mod:`layerzoo.stopping`.
    """
    try:
        stopping.install()
        try:
            _main(arguments)
        finally:
            stopping.uninstall()  # while the interpreter shuts down, a signal has nothing to unwind
    except stopping.Stopped as stop:
        stopping.end(stop)
    except KeyboardInterrupt:  # not from a signal
        sys.exit(_ABORTED)


def _main(arguments: Sequence[str] | None) -> None:
    _open_streams()
    if instruction := os.environ.get(_COMPLETION):
        from layerzoo.cli.completion import answer

        answer(zoo, instruction, variable=_COMPLETION)
        sys.exit(0)
    print_anything(sys.stdout)
    with escaped_stderr():
        if sys.stderr.isatty():
            listen(say)
        code = _run(arguments)
    reserve_until_exit()
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = zoo.main(arguments, prog_name="zoo", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as help_:
        click.echo(help_.format_message())
        return 0
    except click.ClickException as error:
        say(*_complaint(error))
        return error.exit_code
    except LayerzooError as error:
        first, *details = error_lines(error)
        say(f"zoo: {first}", *details)
        return error.exit_code
    except BrokenPipeError:
        # The reader closed the pipe (`zoo list | head`).
        _discard_output()
        return 1  # as click does
    except UnicodeEncodeError as error:
        # Output accepts any character, so an argument holds bytes that are not UTF-8.
        say(f"zoo: {error.object!r} is not valid UTF-8")
        return click.UsageError.exit_code
    except OSError as error:
        if error.filename is not None:
            raise
        # An error without a file name comes from standard output, such as a full disk after `>`.
        _discard_output()
        say(f"zoo: standard output cannot be written: {error.strerror}")
        return 1
    except _InterruptedError as error:
        raise error.interrupt from None
    except click.Abort as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None
        return _ABORTED


def _complaint(error: click.ClickException) -> list[str]:
    """Return a message about a wrong command line: the mistake, the nearest valid names, and the usage."""
    message = printable(error.format_message())
    if isinstance(error, click.exceptions.NoSuchOption | click.exceptions.NoSuchCommand) and error.possibilities:
        message = f"{error.message} Nearest: {', '.join(error.possibilities)}."
    from layerzoo.cli.braces import extra_words_by_shell

    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.UsageError) and (by_shell := extra_words_by_shell(error)):
        message = printable(by_shell)
    if ctx is None:
        return [f"zoo: {message}"]
    return [f"{ctx.command_path}: {message}", *ctx.get_usage().split("\n"), f"More: {ctx.command_path} --help"]


def _open_streams() -> None:
    """Open the null device for each standard stream that the process was started without (`>&-`).

    Otherwise the next opened file, such as the index, would get the descriptor of a stream and receive its output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere())


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - open until the process ends


def _discard_output() -> None:
    """Redirect standard output to the null device, so that the flush at exit cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
