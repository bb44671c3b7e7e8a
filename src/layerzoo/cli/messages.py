"""Print messages on standard error. Names in them are not trusted: see :mod:`layerzoo.printable`.

:func:`say` is the only way to print a message, and :func:`layerzoo.cli.output.print_lines` the only way to print data.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import TextIO

import click

from layerzoo.errors import (
    LayerError,
    LayerzooError,
    NotFoundError,
    PluginError,
    RegistryError,
    RunMismatchError,
    TraceError,
)
from layerzoo.printable import printable_lines, printable_name

_NEXT = "Next: "
_INDENT = "  "
# Their messages have more than one line. A line break in any other comes from a name.
_LONG_ERRORS = (LayerError, NotFoundError, PluginError, RegistryError, RunMismatchError, TraceError)


def say(*lines: str) -> None:
    """Print lines on standard error. A line break within one of them is shown as an escape."""
    click.echo("\n".join(map(printable_name, lines)), err=True)


def error_lines(error: LayerzooError) -> list[str]:
    """Return the lines of an error's message, none of which a name in it can forge.

    Further lines of a message are indented, unless they are the places that a RegistryError lists or begin with Next.
    """
    if not isinstance(error, _LONG_ERRORS):
        return [printable_name(str(error))]
    diagnostics = error.diagnostics if isinstance(error, RegistryError) else ()
    message = str(error)
    if listed := "\n".join(diagnostics):
        message = message.removesuffix(listed).removesuffix("\n")
    first, *more_lines = message.split("\n")
    more = [line if line.startswith((_NEXT, _INDENT)) else f"{_INDENT}{line}" for line in more_lines]
    return [first, *more, *(line.replace("\t", " ") for diagnostic in diagnostics for line in diagnostic.split("\n"))]


@contextlib.contextmanager
def escaped_stderr() -> Iterator[None]:
    """Escape control characters in text that Python code writes to standard error inside the block: libraries log raw
    names."""
    original = sys.stderr
    sys.stderr = _Escaping(original)
    try:
        yield
    finally:
        sys.stderr = original


def terminal() -> TextIO:
    """Return the stream of standard error for progress, which moves the cursor. Names in it must be printable."""
    return sys.stderr.stream if isinstance(sys.stderr, _Escaping) else sys.stderr


class _Escaping(io.TextIOBase):
    """A stream that writes printable text to another, lines and the carriage return of a progress bar aside."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() takes text, not {type(text).__name__}")
        bar = "\r" if text.startswith("\r") else ""
        self.stream.write(bar + printable_lines(text.removeprefix(bar)))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.stream.errors
