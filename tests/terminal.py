"""Run the command line in the process of a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Said(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


Zoo = Callable[..., Said]
"""Runs ``zoo`` with some arguments."""


def beside_local_files(err: str) -> str:
    """Return what a command says on standard error next to the line that names the files of the working directory."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("using "))
