"""Notices to the person who waits. A notice is one line; a warning is one line on the logger ``layerzoo``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from layerzoo.printable import printable_name

if TYPE_CHECKING:
    import logging

_PATIENCE_S = 1.0
_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Have every notice handed to a function, from now on. It may be called from another thread."""
    _listeners.append(listener)


@contextmanager
def notify_when_slow(notice: Callable[[], str]) -> Iterator[None]:
    """Tell those who listen why they wait, once, where what is done inside takes longer than a second."""
    if not _listeners:
        yield
        return
    import threading

    timer = threading.Timer(_PATIENCE_S, lambda: _tell(notice()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def warn(message: str) -> None:
    """Log a warning, as one line. Without a configuration of logging, Python prints it on standard error.

    Args:
        message: the whole text. Names in it may hold anything: see :mod:`layerzoo.printable`.
    """
    logger().warning("%s", message)


def logger() -> logging.Logger:
    """Return the logger ``layerzoo``, which logs every record as one line that cannot drive a terminal."""
    import logging

    found = logging.getLogger("layerzoo")
    if _escape not in found.filters:
        found.addFilter(_escape)
    return found


def _escape(record: logging.LogRecord) -> bool:
    """Replace the message of a record. Records of plugins pass here too: they log to the same logger."""
    record.msg, record.args = printable_name(record.getMessage()), ()
    return True


def _tell(notice: str) -> None:
    for listener in _listeners:
        listener(printable_name(notice))
