"""Contenders that do the same work, each in a process of its own, one at a time and in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.measure import fresh_process
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

FloatArray = NDArray[np.float32]
Run = Callable[[], FloatArray]
"""What is measured. It gives (sample, channel) float32."""
Prepare = Callable[[str], Run]
"""What loads a contender by its name, once and before the clock starts."""
Seconds = Mapping[str, Sequence[float]]
"""What each contender took, by round."""
Verdict = tuple[str, bool]
"""What was found, in words; whether the target is reached."""

_READY: dict[str, Run] = {}


def in_turns(prepare: Prepare, names: Iterable[str], rounds: int) -> tuple[Seconds, dict[str, FloatArray]]:
    """What each took in each round, and its features. A round before them warms up, and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    features: dict[str, FloatArray] = {}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(fresh_process()) for name in seconds}
        for turn in range(rounds + 1):
            for name, process in processes.items():
                took, features[name] = process.submit(_pass, prepare, name).result()
                if turn > 0:
                    seconds[name].append(took)
    return seconds, features


def _pass(prepare: Prepare, name: str) -> tuple[float, FloatArray]:
    if name not in _READY:
        _READY[name] = prepare(name)
    started = perf_counter()
    features = _READY[name]()
    return perf_counter() - started, features


def smallest_cosine(found: FloatArray, reference: FloatArray) -> float:
    """Of two lists of vectors, between those that stand in the same place."""
    exact, other = found.astype(np.float64), reference.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(other, axis=1)
    return float(((exact * other).sum(axis=1) / lengths).min())


def print_speeds(what: str, count: float, seconds: Seconds, told: Mapping[str, Mapping[str, str]]) -> None:
    """One line a contender.

    what: the heading, such as "images/s"; count: how many of those one pass is. told: further columns, by contender.
    """
    table = Table(box=None)
    table.add_column(what, no_wrap=True)
    for heading in ("median", "best", "worst", *told):
        table.add_column(heading, justify="right")
    for name, times in seconds.items():
        speeds = [count / time for time in times]
        shown = (statistics.median(speeds), max(speeds), min(speeds))
        table.add_row(name, *(f"{speed:.1f}" for speed in shown), *(column[name] for column in told.values()))
    Console(highlight=False, width=140).print(table)


def cosine_column(cosines: Mapping[str, float]) -> dict[str, dict[str, str]]:
    """A column for :func:`print_speeds`."""
    return {"cosine": {name: f"{cosine:.7f}" for name, cosine in cosines.items()}}


def speed_verdicts(seconds: Seconds, targets: Iterable[tuple[str, str, float]]) -> Iterator[Verdict]:
    """targets: who should be how many times as fast as whom. Ratios are taken within a round, in which what else the
    machine does slows all."""
    for name, other, target in targets:
        ratio = statistics.median(theirs / ours for ours, theirs in zip(seconds[name], seconds[other], strict=True))
        yield verdict(f"{name} is {ratio:.2f} times as fast as: {other}", f"at least {target}", ratio >= target)


def verdict(told: str, target: Any, reached: bool) -> Verdict:
    return f"{told} (target: {target}){'' if reached else '  MISSED'}", reached
