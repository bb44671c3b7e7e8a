"""Standard output is for the data of a command alone: what a plugin or a library prints goes to standard error."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

_data: list[TextIO] = []
"""The stream that takes the data, while a command runs."""


def stdout() -> TextIO:
    """Return the stream for the data of the command that runs; outside of one, ``sys.stdout``."""
    return _data[-1] if _data else sys.stdout


@contextlib.contextmanager
def reserved_stdout() -> Iterator[None]:
    """Reserve standard output for what is written to :func:`stdout`.

    Within, ``print``, ``sys.stdout``, the descriptor 1 and so subprocesses and C code write to standard error. Where
    ``sys.stdout`` has no descriptor (a test has put another stream in its place), only the stream is replaced.
    Raises: OSError where the data cannot be written, BrokenPipeError where its reader has closed the pipe.
    """
    if _data:  # one command calls another
        yield
        return
    original = sys.stdout
    with _own_descriptor(original) as data:
        _data.append(data)
        sys.stdout = sys.stderr
        try:
            yield
        finally:
            sys.stdout = original
            _data.pop()


@contextlib.contextmanager
def redirected_stdout(stream: TextIO) -> Iterator[None]:
    """Send the data that is written to :func:`stdout` within to another stream."""
    _data.append(stream)
    try:
        yield
        stream.flush()
    finally:
        _data.pop()


@contextlib.contextmanager
def _own_descriptor(stream: TextIO) -> Iterator[TextIO]:
    """Yield a stream to the current target of a stream, whose descriptor refers to standard error inside the block."""
    stream.flush()
    if not isinstance(stream, io.TextIOWrapper) or _descriptor(stream) != 1:
        yield stream
        return
    saved_descriptor = os.dup(1)
    data = open(  # noqa: PTH123, SIM115 - a descriptor; closed below, whatever is left in it
        saved_descriptor,
        "w",
        encoding=stream.encoding,
        errors=stream.errors,
        buffering=1 if stream.line_buffering else -1,
    )
    os.dup2(2, 1)
    try:
        yield data
        data.flush()
    finally:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()  # what was printed past sys.stdout
        _flush_c()
        os.dup2(saved_descriptor, 1)
        _close(data)


def _close(data: TextIO) -> None:
    """Close a stream. Data that cannot be written is dropped: the error was raised when it was flushed."""
    with contextlib.suppress(OSError):
        data.flush()
        data.close()
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), data.fileno())
    data.close()


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _flush_c() -> None:
    """Flush what C code has printed. Where ctypes was never imported, no C code of a plugin's was either."""
    if ctypes := sys.modules.get("ctypes"):
        with contextlib.suppress(Exception):  # no C library of that name on this system
            ctypes.CDLL(None).fflush(None)


def reserve_until_exit() -> None:
    """Send what exit handlers of plugins print to standard error too. Call it after all commands of the process.

    Exit handlers run in the reverse order of their registration, so this one runs before those of the plugins.
    """
    if _descriptor(sys.stdout) == 1:
        atexit.register(_give_up_stdout, sys.stdout)


def _give_up_stdout(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
        os.dup2(2, 1)
