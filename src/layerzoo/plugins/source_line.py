"""The line of an author's code that raised an exception."""

from __future__ import annotations

import linecache
import os
import sysconfig
import traceback
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

_PASSED_ON = ("layerzoo", "torch", "pluggy")
"""Packages that call an author's code, and are not where its mistakes are."""


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a file."""

    path: str
    number: int
    text: str

    @property
    def place(self) -> str:
        """FILE:LINE."""
        return f"{self.path}:{self.number}"

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.text else self.place


def line_in(error: BaseException, folders: Collection[str]) -> SourceLine | None:
    """Return the last line in one of some folders that an exception came through, or None.

    Args:
        error: where it has causes, these are searched first: they were raised before.
        folders: absolute paths.
    """
    roots = tuple(os.path.realpath(folder) + os.sep for folder in folders)
    return next((line for line in _lines(error) if os.path.realpath(line.path).startswith(roots)), None)


def line_of(error: BaseException, folders: Collection[str] = ()) -> SourceLine | None:
    """Return the line of the author's code that raised an exception, or None where all of it is a library's.

    Args:
        error: as for :func:`line_in`.
        folders: those of the plugins whose code ran. Without a line in these, the last one counts that is neither of
            Python, nor of layerzoo, nor of torch.
    """
    if own_line := line_in(error, folders):
        return own_line
    library_folders = [folder for name in _PASSED_ON for folder in _folders_of(name)]
    passed_on = tuple(os.path.realpath(folder) + os.sep for folder in library_folders)
    python = os.path.realpath(sysconfig.get_path("stdlib")) + os.sep
    for line in _lines(error):
        path = os.path.realpath(line.path)
        is_python = path.startswith(python) and "site-packages" not in path
        if not path.startswith(passed_on) and not is_python and os.path.isfile(path):  # noqa: PTH113 - also "<string>"
            return line
    return None


def _lines(error: BaseException) -> Iterator[SourceLine]:
    """Yield the lines that an exception came through, the last first, those of its causes before its own."""
    for exception in chain_of(error):
        if isinstance(exception, SyntaxError) and exception.filename and exception.lineno:
            yield SourceLine(exception.filename, exception.lineno, _text(exception.filename, exception.lineno))
        for frame in reversed(traceback.extract_tb(exception.__traceback__, limit=1000)):
            yield SourceLine(frame.filename, frame.lineno or 0, _text(frame.filename, frame.lineno or 0))


def chain_of(error: BaseException) -> list[BaseException]:
    """Return an exception and those that led to it, the first cause first."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.insert(0, cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return chain


def _text(path: str, number: int) -> str:
    linecache.checkcache(path)
    return linecache.getline(path, number).strip()


def _folders_of(package: str) -> list[str]:
    try:
        spec = find_spec(package)
    except Exception:  # noqa: BLE001 - finders of other installed tools run here, and may raise anything
        return []
    return list(spec.submodule_search_locations or ()) if spec else []
