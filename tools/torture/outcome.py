"""The outcome of a kind of attack: a row of docs/torture.md."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """The result of attacks of one kind.

    Attributes:
        attack: the kind of attack, such as ``SIGKILL during zoo extract``.
        tried: the number of attacks of this kind.
        held: the number of attacks for which the promise held.
        promise: the condition that must hold after each of them.
        failures: descriptions of broken promises, one line per attack, at most ten.
    """

    attack: str
    tried: int
    held: int
    promise: str
    failures: tuple[str, ...] = ()


Family = Callable[[random.Random, Path, int], Iterator[Outcome]]
"""Run a family of attacks.

Args:
    random: the only source of random numbers, seeded by the caller.
    scratch: an empty folder for the files of the attacks.
    count: the number of attacks of each kind. ``make test`` passes a small number.
"""
