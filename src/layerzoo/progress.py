"""Report the progress of long work: a bar of tqdm, a line every 30 s, or a function of the caller."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any, Protocol, TextIO

from layerzoo.errors import UsageError

LINE_EVERY_S = 30.0


class ProgressBar(Protocol):
    """A bar of tqdm, or anything with this method. Its ``total`` is set if it has such an attribute, and it is None."""

    def update(self, n: int) -> object:
        """Add a number of finished parts."""


ProgressChoice = bool | ProgressBar | type[ProgressBar] | Callable[[int, int | None], object] | None
"""True: a bar on a terminal and in a notebook, else a line every 30 s on standard error. A bar, or a class of tqdm. A
function of (done, total), where total is None while it is unknown. None or False: nothing."""


class ProgressMeter:
    """Counts the finished parts of some work."""

    def __init__(self, report: Callable[[int, int, int | None], None], total: int | None = None) -> None:
        """Begin to count.

        Args:
            report: called with the number of parts that were just finished, of all finished parts, and the total.
            total: the number of all parts; None while it is unknown.
        """
        self._report = report
        self.total = total
        self.done = 0

    def advance(self, count: int) -> None:
        """Add a number of finished parts, and report them."""
        self.done += count
        self._report(count, self.done, self.total)


@contextmanager
def metered(progress: ProgressChoice, *, unit: str, label: str, total: int | None = None) -> Iterator[ProgressMeter]:
    """Report progress within the ``with`` block.

    Args:
        progress: the choice of the caller.
        unit: the noun of the parts, in the plural.
        label: the name of the work.
        total: the number of all parts; None while it is unknown.
    Raises: UsageError for a choice that is none of the possible ones.
    """
    check_choice(progress)
    choice: Any = progress
    if choice is True:
        choice = _bar_class() or ProgressLines(sys.stderr, unit, label)
    if choice is None or choice is False:
        yield ProgressMeter(lambda count, done, total: None, total)
    elif is_function(choice):
        yield ProgressMeter(lambda count, done, total: choice(done, total), total)
    elif callable(choice) and not isinstance(getattr(choice, "update", None), MethodType):
        bar = choice(total=total, unit=f" {unit}", desc=label)
        try:
            yield ProgressMeter(partial(_update, bar), total)
        finally:
            if hasattr(bar, "close"):
                bar.close()
    else:
        yield ProgressMeter(partial(_update, choice), total)


def check_choice(progress: Any) -> None:
    """Raises: UsageError for a choice that is none of the possible ones."""
    if not (progress is None or isinstance(progress, bool) or callable(progress) or hasattr(progress, "update")):
        raise UsageError(f"progress={progress!r} is not True, a bar or class of tqdm, or a function of (done, total)")


def is_function(progress: Any) -> bool:
    """Return whether a choice is a function of (done, total); a class of bars has the method ``update``."""
    function = getattr(progress, "func", progress)  # of functools.partial
    return callable(progress) and not hasattr(function, "update")


def _update(bar: Any, count: int, done: int, total: int | None) -> None:
    if total is not None and getattr(bar, "total", total) is None:
        bar.total = total
    bar.update(count)


def _bar_class() -> Any:
    """Return tqdm's class for a notebook or a terminal; None where neither is there, or tqdm is not installed."""
    shell = sys.modules.get("IPython")
    is_notebook = shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
    if not (is_notebook or sys.stderr.isatty()):
        return None
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm warns where a notebook has no widgets, and then prints text
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return None
    return tqdm


class ProgressLines:
    """Prints a line every 30 s: how much is done, the rate, and the remaining time."""

    def __init__(
        self,
        stream: TextIO,
        unit: str,
        label: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        quantity: Callable[[int], str] | None = None,
    ) -> None:
        """Begin to measure the time.

        Args:
            stream: receives the lines.
            unit: the noun of the parts, in the plural.
            label: the name of the work.
            clock: returns seconds.
            quantity: formats a number of parts with its unit; None: the number and the noun.
        """
        self._stream = stream
        self._quantity = quantity or (lambda count: f"{count:,} {unit}")
        self._label = label
        self._clock = clock
        self._began = self._latest = clock()

    def __call__(self, done: int, total: int | None) -> None:
        """Print a line if 30 s have passed since the last one."""
        now = self._clock()
        if now - self._latest < LINE_EVERY_S:
            return
        self._latest = now
        self._stream.write(f"{self._label}: {progress_text(done, total, now - self._began, self._quantity)}\n")
        self._stream.flush()


def progress_text(done: int, total: int | None, seconds: float, quantity: Callable[[int], str]) -> str:
    """Return a line such as ``1280 of 5000 samples (26%), 43 samples/s, 1 min 27 s left``.

    Args:
        done: the number of finished parts.
        total: of all parts; None while it is unknown.
        seconds: since the beginning.
        quantity: formats a number of parts with its unit, after a space.
    """
    rate = done / seconds if seconds > 0 else 0.0
    unit = quantity(2).split(" ", 1)[-1]
    shown_rate = f"{rate:.2g} {unit}/s" if rate < 10 else f"{quantity(round(rate))}/s"
    if total is None or done > total:
        return f"{quantity(done)}, {shown_rate}"
    total_text = quantity(total)
    part = quantity(done).removesuffix(f" {total_text.split(' ', 1)[-1]}")
    time_left = f", {duration((total - done) / rate)} left" if rate else ""
    return f"{part} of {total_text} ({done / max(1, total):.0%}), {shown_rate}{time_left}"


def duration(seconds: float) -> str:
    """Return a time as ``3 h 5 min``, ``2 min 7 s`` or ``12 s``. seconds: the time."""
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {remainder} s" if minutes else f"{remainder} s"
