"""What a person who waits is told. The library itself prints nothing: whoever has a screen listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE_S = 1.0
_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Have every notice handed to a function, from now on. It may be called from another thread."""
    _listeners.append(listener)


@contextmanager
def told_when_slow(notice: Callable[[], str]) -> Iterator[None]:
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


def _tell(notice: str) -> None:
    for listener in _listeners:
        listener(notice)
