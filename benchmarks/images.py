"""How fast pictures become features: ``python -m benchmarks.images [ROUNDS]``.

160 JPEG files go through ResNet-50 up to its second stage, in the ways of :mod:`benchmarks.contenders`. Each has a
process of its own, in which its network is loaded, and warm, before the clock starts; then they take turns, one at a
time, from paths to pooled features. Ratios are taken within a round, in which what else the machine does slows all;
shown are medians. Then: how much memory a stream of pictures takes, and of four times as many.

Exits with 1 where a target is missed.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.contenders import CONTENDERS, FloatArray, Run, streamed_through, write_weights
from benchmarks.measure import fresh_process, own_folder, peak_bytes
from benchmarks.pictures import write_pictures
from rich.console import Console
from rich.table import Table

_PICTURES = 160
_ROUNDS = 5
_MORE = 4
"""How many times as many pictures a stream gets to show that its memory stays the same."""
_GROWTH = 0.05
_SPEED = (
    ("layerzoo float32", "bare cut network float32", 0.85),
    ("layerzoo float32", "timm, DataLoader, hook", 2.0),
    ("layerzoo bfloat16", "bare cut network bfloat16", 0.75),
    ("layerzoo bfloat16", "timm, DataLoader, hook", 4.0),
)
"""Who should be how many times as fast as whom."""
_COSINE = {"layerzoo bfloat16": 0.999, "bare cut network bfloat16": 0.999}
_COSINE_FLOAT32 = 0.999999
"""What contenders that compute in float32 owe each other: they do the same, in other orders of summation."""

Seconds = dict[str, list[float]]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    with own_folder() as folder:
        write_weights(folder / "resnet50.safetensors")
        pictures = tuple(write_pictures(folder, _PICTURES))
        seconds, cosines = _in_turns(folder / "resnet50.safetensors", pictures, rounds)
        peaks = [_peak(folder / "resnet50.safetensors", pictures * times) for times in (1, _MORE)]
    _print_speed(seconds, cosines)
    verdicts = [*_speed(seconds), *_agreement(cosines), _memory(peaks)]
    for told, _ in verdicts:
        print(told)
    sys.exit(0 if all(reached for _, reached in verdicts) else 1)


def _in_turns(weights: Path, pictures: tuple[Path, ...], rounds: int) -> tuple[Seconds, dict[str, float]]:
    """Seconds of each contender by round, and the smallest cosine of its features to the first one's."""
    seconds: Seconds = {name: [] for name in CONTENDERS}
    features: dict[str, FloatArray] = {}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(fresh_process()) for name in CONTENDERS}
        for turn in range(rounds + 1):
            for name, process in processes.items():
                took, features[name] = process.submit(_pass, name, weights, pictures).result()
                if turn > 0:  # the first warms up
                    seconds[name].append(took)
    reference = next(iter(features.values()))
    return seconds, {name: _smallest_cosine(found, reference) for name, found in features.items()}


def _pass(name: str, weights: Path, pictures: tuple[Path, ...]) -> tuple[float, FloatArray]:
    run = _prepared(name, weights, pictures)
    started = perf_counter()
    features = run()
    return perf_counter() - started, features


@cache
def _prepared(name: str, weights: Path, pictures: tuple[Path, ...]) -> Run:
    return CONTENDERS[name](weights, pictures)


def _smallest_cosine(found: FloatArray, reference: FloatArray) -> float:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    return float(((found * reference).sum(axis=1) / lengths).min())


def _peak(weights: Path, pictures: Sequence[Path]) -> int:
    """The most memory that a process takes which streams pictures, in bytes."""
    with fresh_process() as process:
        return process.submit(_stream, weights, pictures).result()


def _stream(weights: Path, pictures: Sequence[Path]) -> int:
    for _ in streamed_through(weights, pictures):
        pass
    return peak_bytes()


def _print_speed(seconds: Seconds, cosines: dict[str, float]) -> None:
    table = Table(box=None)
    table.add_column("images/s", no_wrap=True)
    for heading in ("median", "best", "worst", "cosine"):
        table.add_column(heading, justify="right")
    for name, times in seconds.items():
        speeds = [_PICTURES / time for time in times]
        shown = (statistics.median(speeds), max(speeds), min(speeds))
        table.add_row(name, *(f"{speed:.1f}" for speed in shown), f"{cosines[name]:.6f}")
    Console(highlight=False, width=140).print(table)


Verdict = tuple[str, bool]
"""What was found, in words; whether the target is reached."""


def _speed(seconds: Seconds) -> Iterator[Verdict]:
    for name, other, target in _SPEED:
        ratio = statistics.median(theirs / ours for ours, theirs in zip(seconds[name], seconds[other], strict=True))
        yield _verdict(f"{name} is {ratio:.2f} times as fast as: {other}", f"at least {target}", ratio >= target)


def _agreement(cosines: dict[str, float]) -> Iterator[Verdict]:
    for name, cosine in cosines.items():
        target = _COSINE.get(name, _COSINE_FLOAT32)
        if cosine < target or name in _COSINE:
            yield _verdict(f"{name}: cosine {cosine:.6f}", f"at least {target}", cosine >= target)


def _memory(peaks: Sequence[int]) -> Verdict:
    few, many = (peak / 1e6 for peak in peaks)
    told = f"layerzoo.stream: peak memory {few:.0f} MB for {_PICTURES} pictures, {many:.0f} MB for {_MORE * _PICTURES}"
    return _verdict(told, f"at most {_GROWTH:.0%} more", many <= few * (1 + _GROWTH))


def _verdict(told: str, target: Any, reached: bool) -> Verdict:
    return f"{told} (target: {target}){'' if reached else '  MISSED'}", reached


if __name__ == "__main__":
    main()
