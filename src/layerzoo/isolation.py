"""No network for the code of plugins: while a hook runs, its thread and the threads that it starts open no connection.

Enforced below every library by an audit hook of the interpreter (PEP 578), which sees each connection and each look-up
of a host's name in this process. Other threads keep their network: an application that embeds layerzoo notices nothing.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from layerzoo.errors import OutsideRepositoryError

_CONNECTIONS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
"""Audit events with (socket, address)."""
_NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
"""Audit events that begin with the name of a host."""
_WATCHED = _CONNECTIONS | _NAMES
_REPOSITORY = re.compile(r"https?://[^/]+/(?:api/models/)?([\w.-]+/[\w.-]+?)/(?:resolve|revision|tree|raw)/")
_FARTHEST_FRAME = 60


class _Scope:
    """A running hook. refused: the error for its first refused connection."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.refused: OutsideRepositoryError | None = None


class _Here(threading.local):
    """The state of one thread: the hook that runs in it, and the number of layerzoo's own requests that are active."""

    scope: _Scope | None = None
    own_requests = 0


_here = _Here()
_started: WeakKeyDictionary[threading.Thread, _Scope] = WeakKeyDictionary()
"""Threads that a hook started, which stay without network for as long as they live."""
_install_once = threading.Lock()
_is_installed = False


@contextlib.contextmanager
def without_network(model: str) -> Iterator[None]:
    """Refuse every connection to a host that this thread, or a thread that it starts inside, asks for.

    Connections of layerzoo's own (:func:`own_network`) and those to sockets of this machine's file system pass.

    Args:
        model: the model that is worked on, for the message.
    Raises: OutsideRepositoryError for the first refused connection, even if a library continued without it: the result
        would depend on the network.
    """
    _install()
    scope = _Scope(model)
    outer, _here.scope = _here.scope, scope
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if scope.refused is not None and scope.refused is not error:
            raise scope.refused from error
        raise
    else:
        if scope.refused is not None:
            raise scope.refused
    finally:
        _here.scope = outer


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Allow connections of this thread inside the block: layerzoo fetches a pinned file, also on behalf of a hook."""
    _here.own_requests += 1
    try:
        yield
    finally:
        _here.own_requests -= 1


def _install() -> None:
    """Install the audit hook once per process: it cannot be removed. It has no effect unless a hook of a plugin runs.

    Python 3.11 has no audit event for a thread that starts, so ``Thread.start`` notes in which hook it was called.
    """
    global _is_installed
    if not _is_installed:
        with _install_once:
            if not _is_installed:
                start = threading.Thread.start

                @functools.wraps(start)
                def noted(thread: threading.Thread) -> None:
                    if (scope := _here.scope) is not None and not _here.own_requests:
                        _started[thread] = scope
                    start(thread)

                threading.Thread.start = noted  # type: ignore[method-assign, assignment]
                sys.addaudithook(_audit)
                _is_installed = True


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _WATCHED:
        return
    scope = _here.scope or _started.get(threading.current_thread())
    if scope is None or _here.own_requests:
        return
    if (host := _host(event, arguments)) is not None:
        refused = _refusal(scope.model, _url(sys._getframe(1)) or host)
        scope.refused = scope.refused or refused
        raise refused


def _host(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the requested host; None for this machine: a socket in the file system, or one of its addresses."""
    if event in _NAMES:
        name = arguments[0]
        text = name.decode(errors="replace") if isinstance(name, bytes | bytearray) else name
        return str(text) if text else None
    address = arguments[1]
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str):
        return f"{address[0]}:{address[1]}"
    return None


def _url(frame: FrameType | None) -> str | None:
    """Return the URL of the request that opens a connection, if a calling frame of an HTTP library has it."""
    for _ in range(_FARTHEST_FRAME):
        if frame is None:
            return None
        for name in ("request", "req"):
            request = frame.f_locals.get(name)
            url = getattr(request, "full_url", None) or getattr(request, "url", None)
            if url is not None and str(url).startswith("http"):
                return str(url)
        frame = frame.f_back
    return None


def _refusal(model: str, url: str) -> OutsideRepositoryError:
    repository = match[1] if (match := _REPOSITORY.match(url)) else None
    target = f"the repository {repository} ({url})" if repository else url
    return OutsideRepositoryError(
        f"{model}: its library asked for {target}, which is not declared and not pinned. Nothing was fetched: no "
        "plugin opens a connection. Next: a checkpoint that holds all that its network needs, or a plugin of your own "
        "that builds this one from pinned files (zoo plugin new)",
        reference=repository or url,
    )
