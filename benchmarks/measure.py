"""Measure time and memory, and print a table of medians, best and worst times, and targets."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Measured:
    """The times of the repetitions of one measurement."""

    name: str
    seconds: tuple[float, ...]
    target_s: float | None = None
    """The limit of the median; None if there is no target."""

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def is_missed(self) -> bool:
        return self.target_s is not None and self.median_s >= self.target_s


def measured(name: str, calls: Iterable[Callable[[], Any]], target_s: float | None = None) -> Measured:
    """Measure the time of each call."""
    return Measured(name, tuple(map(_seconds, calls)), target_s)


def process(command: Sequence[str], **options: Any) -> Callable[[], None]:
    """Return a function that runs a process, which must succeed. options: of ``subprocess.run``."""

    def run() -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, **options)

    return run


@contextmanager
def own_folder() -> Iterator[Path]:
    """Provide an empty working directory with a separate cache and configuration, without the user's files. Child
    processes use them too."""
    with tempfile.TemporaryDirectory(prefix="layerzoo-benchmark-") as name:
        folder = Path(name)
        os.environ |= {"LAYERZOO_CACHE": str(folder / "cache"), "XDG_CONFIG_HOME": str(folder / "config")}
        os.chdir(folder)
        yield folder
        os.chdir("/")


def fresh_process() -> ProcessPoolExecutor:
    """Start a process without any imported module."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def peak_bytes() -> int:
    """Return the peak of resident memory since the start of this process or the last :func:`forget_peak`."""
    return _status("VmHWM")


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return _status("VmRSS")


def forget_peak() -> None:
    """Reset the peak to the current resident memory."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def print_table(rows: Iterable[Measured]) -> None:
    """Print one line per measurement, in milliseconds; missed targets are marked."""
    table = Table(box=None)
    table.add_column("measurement", no_wrap=True)
    for heading in ("median", "best", "worst", "target"):
        table.add_column(f"{heading}, ms" if heading == "median" else heading, justify="right")
    for row in rows:
        target = "" if row.target_s is None else f"< {_ms(row.target_s)}{'  MISSED' if row.is_missed else ''}"
        table.add_row(row.name, _ms(row.median_s), _ms(min(row.seconds)), _ms(max(row.seconds)), target)
    Console(highlight=False, width=140).print(table)


def _seconds(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g}" if seconds < 1 else f"{seconds * 1000:.0f}"
