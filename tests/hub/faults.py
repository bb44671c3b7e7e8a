"""Faults between a hub and its client."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypedDict, Unpack

from tests.hub.exchange import Answer, Request, Respond, error

Fault = Callable[[Request, Respond], Answer]
_TRY_AGAIN = [429, 500, 502, 503, 504]


class When(TypedDict, total=False):
    """Which requests for a path fail.

    method: ``GET``, ``HEAD``, or ``*`` for all.
    after: the number of requests that succeed first.
    times: the number of requests that fail then; all by default.
    """

    method: str
    after: int
    times: int


@dataclass
class _Planned:
    path: str
    fault: Fault
    method: str = "*"
    after: int = 0
    times: int | None = None
    seen: int = field(default=0, init=False)

    def is_due(self, request: Request) -> bool:
        if not request.matches(self.path, self.method):
            return False
        self.seen += 1
        return self.after < self.seen and (self.times is None or self.seen <= self.after + self.times)


class Faults:
    """The faults of a hub. Each applies to requests whose path matches a pattern (``*.safetensors``), see ``When``.

    Faults of the body (cut, slow, …) apply to GET, others to all methods, unless ``method`` is given.
    """

    def __init__(self) -> None:
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()

    def inject(self, path: str, fault: Fault, **when: Unpack[When]) -> None:
        """Add a custom fault. It receives the request and the function that answers it without a fault."""
        with self._lock:
            self._planned.append(_Planned(path, fault, **when))

    def heal(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._planned.clear()

    def with_faults(self, request: Request, respond: Respond) -> Answer:
        """Return the answer after all due faults. The fault that was added last is applied first."""
        with self._lock:
            due = [planned.fault for planned in self._planned if planned.is_due(request)]
        for fault in due:
            respond = _through(fault, respond)
        return respond(request)

    # ------------------------------------------------------------ a missing or different answer

    def fail(
        self, path: str, status: int = 503, *, code: str | None = None, retry_after: int = 0, **when: Unpack[When]
    ) -> None:
        """Refuse with a status. code: the hub's ``X-Error-Code``. retry_after: in seconds."""
        headers = {"Retry_After": str(retry_after)} if status in _TRY_AGAIN else {}
        self.inject(path, lambda request, respond: error(status, code, **headers), **when)

    def hang_up(self, path: str, **when: Unpack[When]) -> None:
        """Close the connection without an answer."""
        self.inject(path, lambda request, respond: _no_answer(), **when)

    def redirect_loop(self, path: str, **when: Unpack[When]) -> None:
        """Redirect the client to the same URL, without end."""
        self.inject(path, lambda request, respond: Answer(302, {"Location": request.path}), **when)

    def set_header(self, path: str, name: str, value: str | None, **when: Unpack[When]) -> None:
        """Send a wrong header, such as ETag or Content-Length; ``None`` removes it."""
        self.inject(path, lambda request, respond: respond(request).with_headers(**{name: value}), **when)

    def meanwhile(self, path: str, action: Callable[[], object], **when: Unpack[When]) -> None:
        """Call a function before a request is answered: commit, move a tag, rewrite a file, wait."""

        def act(request: Request, respond: Respond) -> Answer:
            action()
            return respond(request)

        self.inject(path, act, **when)

    # ------------------------------------------------------------ the body

    def cut(self, path: str, after_bytes: int, *, reset: bool = False, **when: Unpack[When]) -> None:
        """Close the connection in the middle of a body. reset: close it as a crashing machine does."""
        cut = _changed(lambda answer: replace(answer, close_after=after_bytes, reset=reset))
        self.inject(path, cut, **_for_get(when))

    def truncate(self, path: str, to_bytes: int, **when: Unpack[When]) -> None:
        """Send only the start of the body, as if it were complete."""
        self.inject(path, _changed(lambda answer: replace(answer, body=answer.body[:to_bytes])), **_for_get(when))

    def corrupt(self, path: str, at: int = 0, **when: Unpack[When]) -> None:
        """Invert the bits of one byte of the body."""
        self.inject(path, _changed(lambda answer: replace(answer, body=_damaged(answer.body, at))), **_for_get(when))

    def slow(self, path: str, bytes_per_second: float, **when: Unpack[When]) -> None:
        """Send the body at a limited rate."""
        slow = _changed(lambda answer: replace(answer, bytes_per_second=bytes_per_second))
        self.inject(path, slow, **_for_get(when))

    # ------------------------------------------------------------ ranges

    def ignore_ranges(self, path: str, **when: Unpack[When]) -> None:
        """Send the whole file with status 200, for any requested range."""
        self.inject(path, lambda request, respond: respond(replace(request, range=None)), **_for_get(when))

    def wrong_content_range(self, path: str, shift: int = 1, **when: Unpack[When]) -> None:
        """Send a Content-Range that is shifted by some bytes."""
        self.inject(path, _changed(lambda answer: _shifted(answer, shift)), **_for_get(when))

    # ------------------------------------------------------------ random faults

    def misbehave(
        self, path: str, seed: int, *, rate: float = 0.5, kinds: str = "fail hang_up cut reset ranges"
    ) -> None:
        """Let requests fail at random.

        The fault of the n-th request for a range of a path depends only on the seed, not on the order of threads.
        """
        seen: Counter[str] = Counter()
        lock = threading.Lock()

        def at_random(request: Request, respond: Respond) -> Answer:
            with lock:
                key = f"{request.method} {request.path} {request.range}"
                seen[key] += 1
                rng = random.Random(f"{seed} {key} {seen[key]}")
            if rng.random() >= rate:
                return respond(request)
            match rng.choice(kinds.split()):
                case "fail":
                    return error(rng.choice(_TRY_AGAIN), Retry_After="0")
                case "hang_up":
                    return _no_answer()
                case "ranges":
                    return respond(replace(request, range=None))
                case kind:
                    answer = respond(request)
                    position = rng.randrange(len(answer.body) + 1)
                    return replace(answer, close_after=position, reset=kind == "reset")

        self.inject(path, at_random)


def _through(fault: Fault, respond: Respond) -> Respond:
    return lambda request: fault(request, respond)


def _changed(change: Callable[[Answer], Answer]) -> Fault:
    return lambda request, respond: change(respond(request))


def _for_get(when: When) -> When:
    return {"method": "GET", **when}


def _no_answer() -> Answer:
    raise ConnectionAbortedError("the server closes the connection")


def _damaged(body: bytes, at: int) -> bytes:
    return body[:at] + bytes(byte ^ 0xFF for byte in body[at : at + 1]) + body[at + 1 :]


def _shifted(answer: Answer, by: int) -> Answer:
    correct = answer.headers.get("Content-Range", "")
    shifted = re.sub(r"(\d+)-(\d+)", lambda match: f"{int(match[1]) + by}-{int(match[2]) + by}", correct)
    return answer.with_headers(Content_Range=shifted or None)
