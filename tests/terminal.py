"""Run the command line in the process of a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class CommandResult(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


Zoo = Callable[..., CommandResult]
"""Runs ``zoo`` with some arguments."""


def without_local_files_notice(err: str) -> str:
    """Return what a command says on standard error next to the line that names the files of the working directory."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("using "))
