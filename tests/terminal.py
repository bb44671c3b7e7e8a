"""The command line, run in the process of a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Zoo = Callable[..., Said]
"""Runs ``zoo`` with some arguments."""
