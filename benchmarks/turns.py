"""Run contenders that do the same work in separate processes, one at a time and in turns."""

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
"""A measured run. It returns (sample, channel) float32."""
Prepare = Callable[[str], Run]
"""Loads a contender by its name, once and before the clock starts."""
Seconds = Mapping[str, Sequence[float]]
"""By contender, the time of each round."""
Verdict = tuple[str, bool]
"""A message, and whether the target is reached."""

_READY: dict[str, Run] = {}


def in_turns(prepare: Prepare, names: Iterable[str], rounds: int) -> tuple[Seconds, dict[str, FloatArray]]:
    """Return the times of each contender by round, and its features. An additional first round is a warm-up."""
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


def smallest_cosine(values: FloatArray, reference: FloatArray) -> float:
    """Return the smallest cosine between corresponding rows of two (n, m) matrices."""
    exact, other = values.astype(np.float64), reference.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(other, axis=1)
    return float(((exact * other).sum(axis=1) / lengths).min())


def print_speeds(unit: str, count: float, seconds: Seconds, columns: Mapping[str, Mapping[str, str]]) -> None:
    """Print one line per contender.

    unit: the heading, such as "images/s".
    count: the number of these units in one pass.
    seconds: the time of each round, by contender.
    columns: further columns by heading, each with a text by contender.
    """
    table = Table(box=None)
    table.add_column(unit, no_wrap=True)
    for heading in ("median", "best", "worst", *columns):
        table.add_column(heading, justify="right")
    for name, times in seconds.items():
        speeds = [count / time for time in times]
        shown = (statistics.median(speeds), max(speeds), min(speeds))
        table.add_row(name, *(f"{speed:.1f}" for speed in shown), *(column[name] for column in columns.values()))
    Console(highlight=False, width=140).print(table)


def cosine_column(cosines: Mapping[str, float]) -> dict[str, dict[str, str]]:
    """Return a column of cosines for :func:`print_speeds`."""
    return {"cosine": {name: f"{cosine:.7f}" for name, cosine in cosines.items()}}


def speed_verdicts(seconds: Seconds, targets: Iterable[tuple[str, str, float]]) -> Iterator[Verdict]:
    """Compare the speeds of contenders within each round, because load on the machine slows all contenders of a round.

    targets: contender, other contender, and the target for the ratio of their speeds.
    """
    for name, other, target in targets:
        ratio = statistics.median(theirs / ours for ours, theirs in zip(seconds[name], seconds[other], strict=True))
        yield verdict(f"{name} is {ratio:.2f} times as fast as: {other}", f"at least {target}", ratio >= target)


def verdict(message: str, target: Any, reached: bool) -> Verdict:
    return f"{message} (target: {target}){'' if reached else '  MISSED'}", reached
