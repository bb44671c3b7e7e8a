"""End the command line when a signal asks for it: unwound, with one line that says what was kept.

Only the command ``zoo`` installs these handlers. A program that uses layerzoo keeps its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from layerzoo.printable import printable_name

_SIGNALS = tuple(name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_PATIENCE_S = 5.0
"""How long unwinding may take. The process ends then without it: no file is damaged by a kill."""
_LOOK_EVERY_S = 0.1
_UNRAISABLE = frozenset({"__del__"})
"""The functions that Python calls in places where an exception is printed and lost."""


class Stopped(KeyboardInterrupt):
    """Raised in the main thread when a signal asks the process to end.

    It is a KeyboardInterrupt so that libraries treat it as Ctrl-C. ``number`` is the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    """The first signal that came, and the exception that was raised for it."""

    number: int | None = None
    since: float = 0.0
    raised: weakref.ref[Stopped] | None = None
    kept: tuple[Callable[[], str], ...] = ()


_state = _State()
_before: dict[int, Any] = {}
"""The handlers that there were, by signal."""


def install() -> None:
    """Have SIGINT, SIGTERM and SIGHUP raise :class:`Stopped`. A signal that is ignored, as under nohup, stays so."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name in _SIGNALS:
        number = getattr(signal, name)
        handler = signal.getsignal(number)
        if handler not in (signal.SIG_IGN, None, _on_signal):
            _before[number] = handler
            signal.signal(number, _on_signal)


def uninstall() -> None:
    """Give the signals the handlers that they had before, unless one has come already."""
    if _state.number is None and threading.current_thread() is threading.main_thread():
        for number, handler in _before.items():
            signal.signal(number, handler)
        _before.clear()


def leave_quietly() -> None:
    """Make Ctrl-C end the process at once while the interpreter shuts down.

    Python's own handler would print a traceback then.
    """
    with contextlib.suppress(ValueError):  # not in the main thread
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block Ctrl-C and the signals that end a terminal or a job for a process that is started within."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, name) for name in _SIGNALS})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextmanager
def what_is_kept(describe: Callable[[], str]) -> Iterator[None]:
    """Describe what a command has done, in the line that is printed when a signal ends it within.

    Args:
        describe: returns the text after ``stopped by SIGTERM``; it is called after everything within was unwound.
    """
    previous = _state.kept
    _state.kept = (*previous, describe)
    try:
        yield
    except KeyboardInterrupt:
        raise  # `end` calls `describe`
    except BaseException:
        _state.kept = previous
        raise
    else:
        _state.kept = previous


def end(stop: KeyboardInterrupt) -> NoReturn:
    """Print the line, and end the process by the signal itself, so that a shell sees 128 + its number."""
    number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
    for name in _SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    if disk := sys.modules.get("layerzoo.disk"):
        disk.remove_own()
    line = f"{printable_name(f'zoo: stopped by {_signal_name(number)}{_description_of_work()}')}\n"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        os.write(2, line.encode(errors="backslashreplace"))
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _signal_name(number: int) -> str:
    return "Ctrl-C (SIGINT)" if number == signal.SIGINT else signal.Signals(number).name


def _description_of_work() -> str:
    if not _state.kept:
        return ""
    try:
        return _state.kept[-1]()
    except Exception:  # noqa: BLE001 - the line is printed without what cannot be found out
        return ""


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Raise at the first signal. The others, which `timeout` and schedulers send at once, are ignored."""
    if _state.number is not None:
        return
    _state.number, _state.since = number, time.monotonic()
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _look_again)
        signal.setitimer(signal.ITIMER_REAL, _LOOK_EVERY_S, _LOOK_EVERY_S)
    _raise(number, frame)


def _look_again(_: int, frame: FrameType | None) -> None:
    """Raise again if the exception was lost, as in a bare ``except`` of a library; end the process if unwinding takes
    too long."""
    assert _state.number is not None
    if time.monotonic() - _state.since > _PATIENCE_S:
        end(Stopped(_state.number))
    if _state.raised is None or _state.raised() is None:
        _raise(_state.number, frame)


def _raise(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_name in _UNRAISABLE:
            return  # the timer tries again
        frame = frame.f_back
    stop = Stopped(number)
    _state.raised = weakref.ref(stop)
    try:
        raise stop
    finally:
        del stop  # or its own traceback would keep it alive where it was lost
