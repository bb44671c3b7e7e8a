"""Notices to the user about long operations, and warnings on the logger ``layerzoo``. Each is one line."""

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
    """Call a function with every notice from now on. It may be called from another thread."""
    _listeners.append(listener)


@contextmanager
def notify_when_slow(notice: Callable[[], str]) -> Iterator[None]:
    """Send one notice if the ``with`` block takes longer than a second. notice: returns the text."""
    if not _listeners:
        yield
        return
    import threading

    timer = threading.Timer(_PATIENCE_S, lambda: _notify(notice()))
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

    package_logger = logging.getLogger("layerzoo")
    if _escape not in package_logger.filters:
        package_logger.addFilter(_escape)
    return package_logger


def _escape(record: logging.LogRecord) -> bool:
    """Replace the message of a record. Records of plugins pass here too: they log to the same logger."""
    record.msg, record.args = printable_name(record.getMessage()), ()
    return True


def _notify(notice: str) -> None:
    for listener in _listeners:
        listener(printable_name(notice))
