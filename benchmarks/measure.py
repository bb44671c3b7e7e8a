"""Measuring with the clock, repeated, and shown as one small table of median, worst and target; and memory."""

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
    """What something took, every time it was tried."""

    what: str
    seconds: tuple[float, ...]
    target_s: float | None = None
    """What the median should stay below; None: it is measured for the record."""

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def is_missed(self) -> bool:
        return self.target_s is not None and self.median_s >= self.target_s


def measured(what: str, calls: Iterable[Callable[[], Any]], target_s: float | None = None) -> Measured:
    """How long each of some calls takes."""
    return Measured(what, tuple(map(_seconds, calls)), target_s)


def process(command: Sequence[str], **options: Any) -> Callable[[], None]:
    """A call that runs a whole process, which must end well. options: of ``subprocess.run``."""

    def run() -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, **options)

    return run


@contextmanager
def own_folder() -> Iterator[Path]:
    """An empty working directory with a cache and a configuration of its own, also for processes that are started in
    it: no file of the user's counts."""
    with tempfile.TemporaryDirectory(prefix="layerzoo-benchmark-") as name:
        folder = Path(name)
        os.environ |= {"LAYERZOO_CACHE": str(folder / "cache"), "XDG_CONFIG_HOME": str(folder / "config")}
        os.chdir(folder)
        yield folder
        os.chdir("/")


def fresh_process() -> ProcessPoolExecutor:
    """A process that has imported nothing yet."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def peak_bytes() -> int:
    """The most memory that this process had resident, as Linux counts it, since it began or :func:`forget_peak`."""
    return _status("VmHWM")


def resident_bytes() -> int:
    """The memory that this process has resident now."""
    return _status("VmRSS")


def forget_peak() -> None:
    """From here on, what this process has resident now is its peak."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def print_table(rows: Iterable[Measured]) -> None:
    """One line a measure, in milliseconds; what misses its target is marked."""
    table = Table(box=None)
    table.add_column("what", no_wrap=True)
    for heading in ("median", "best", "worst", "target"):
        table.add_column(f"{heading}, ms" if heading == "median" else heading, justify="right")
    for row in rows:
        target = "" if row.target_s is None else f"< {_ms(row.target_s)}{'  MISSED' if row.is_missed else ''}"
        table.add_row(row.what, _ms(row.median_s), _ms(min(row.seconds)), _ms(max(row.seconds)), target)
    Console(highlight=False, width=140).print(table)


def _seconds(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g}" if seconds < 1 else f"{seconds * 1000:.0f}"
