"""Signs of progress, which distinguish a slow decoder from one that hangs."""

from __future__ import annotations

from collections.abc import Callable

_report: Callable[[], None] | None = None


def beat() -> None:
    """Report that decoding makes progress. Cheap enough for every packet."""
    if _report is not None:
        _report()


def report_to(report: Callable[[], None]) -> None:
    """Have a function called at every sign of progress. In a decode process only."""
    global _report
    _report = report
