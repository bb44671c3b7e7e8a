"""The progress of a command: a bar with total, rate and remaining time on a terminal, else a line every 30 s."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from layerzoo.cli.messages import terminal
from layerzoo.printable import printable_name
from layerzoo.progress import ProgressLines, progress_text


class CommandProgress:
    """The progress of one command, with the methods of a bar of tqdm.

    Attributes:
        total: the number of all parts; None while it is unknown.
    """

    def __init__(self, show: Callable[[int, int | None, str], None], label: str, total: int | None = None) -> None:
        """show: is called with the number of finished parts, the total and the label."""
        self._show = show
        self.label = label
        self.total = total
        self.done = 0

    def update(self, n: int) -> None:
        """Add a number of finished parts."""
        self.done += n
        self._show(self.done, self.total, self.label)


@contextmanager
def command_progress(
    label: str, quantity: Callable[[int], str], *, total: int | None = None
) -> Iterator[CommandProgress]:
    """Show progress within the ``with`` block.

    Args:
        label: the name of the work.
        quantity: formats a number of parts with its unit, as in ``12 samples`` or ``4.1 MB``.
        total: the number of all parts; None while it is unknown.
    """
    if not sys.stderr.isatty():
        lines = ProgressLines(sys.stderr, "", printable_name(label), quantity=quantity)
        yield CommandProgress(lambda done, total, label: lines(done, total), label, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[text]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=terminal()), transient=True) as progress:
        task = progress.add_task(printable_name(label), total=total, text="")

        def show(done: int, total: int | None, label: str) -> None:
            facts: dict[str, Any] = {"completed": done, "description": printable_name(label)}
            seconds = progress.tasks[0].elapsed or 0.0
            progress.update(task, total=total, text=progress_text(done, total, seconds, quantity), **facts)

        yield CommandProgress(show, label, total)
