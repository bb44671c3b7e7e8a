"""What can go wrong between a hub and its client."""

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
    """Which of the requests for a path go wrong.

    method: ``GET``, ``HEAD``, or ``*`` for all. after: so many of them go well first. times: then so many go wrong;
    all, if it is not given.
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
    """The faults of a hub. Each is for the requests whose path matches a pattern (``*.safetensors``): see ``When``.

    A fault of the body (cut, slow, …) is for GET, any other for all methods, unless ``method`` says which.
    """

    def __init__(self) -> None:
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()

    def inject(self, path: str, fault: Fault, **when: Unpack[When]) -> None:
        """A fault of a test's own: it is given the request, and what answers it as if nothing were wrong."""
        with self._lock:
            self._planned.append(_Planned(path, fault, **when))

    def heal(self) -> None:
        """No more faults."""
        with self._lock:
            self._planned.clear()

    def with_faults(self, request: Request, respond: Respond) -> Answer:
        """The answer, as what is due to go wrong leaves it. The fault planned last comes first."""
        with self._lock:
            due = [planned.fault for planned in self._planned if planned.is_due(request)]
        for fault in due:
            respond = _through(fault, respond)
        return respond(request)

    # ------------------------------------------------------------ no answer, or another one

    def fail(
        self, path: str, status: int = 503, *, code: str | None = None, retry_after: int = 0, **when: Unpack[When]
    ) -> None:
        """Refuse with a status; ``code`` is the hub's ``X-Error-Code``, ``retry_after`` is in seconds."""
        headers = {"Retry_After": str(retry_after)} if status in _TRY_AGAIN else {}
        self.inject(path, lambda request, respond: error(status, code, **headers), **when)

    def hang_up(self, path: str, **when: Unpack[When]) -> None:
        """Close the connection without a word."""
        self.inject(path, lambda request, respond: _no_answer(), **when)

    def redirect_loop(self, path: str, **when: Unpack[When]) -> None:
        """Send the client to where it is, for ever."""
        self.inject(path, lambda request, respond: Answer(302, {"Location": request.path}), **when)

    def set_header(self, path: str, name: str, value: str | None, **when: Unpack[When]) -> None:
        """Say something wrong about what is sent, as in ETag or Content-Length; ``None``: leave the header out."""
        self.inject(path, lambda request, respond: respond(request).with_headers(**{name: value}), **when)

    def meanwhile(self, path: str, action: Callable[[], object], **when: Unpack[When]) -> None:
        """Do something before a request is answered: commit, move a tag, rewrite a file, wait."""

        def act(request: Request, respond: Respond) -> Answer:
            action()
            return respond(request)

        self.inject(path, act, **when)

    # ------------------------------------------------------------ the body

    def cut(self, path: str, after_bytes: int, *, reset: bool = False, **when: Unpack[When]) -> None:
        """Close the connection in the middle of a body; ``reset`` as a machine that crashes."""
        cut = _changed(lambda answer: replace(answer, close_after=after_bytes, reset=reset))
        self.inject(path, cut, **_for_get(when))

    def truncate(self, path: str, to_bytes: int, **when: Unpack[When]) -> None:
        """Send the beginning only, as if it were all there is."""
        self.inject(path, _changed(lambda answer: replace(answer, body=answer.body[:to_bytes])), **_for_get(when))

    def corrupt(self, path: str, at: int = 0, **when: Unpack[When]) -> None:
        """Turn over the bits of one byte of the body."""
        self.inject(path, _changed(lambda answer: replace(answer, body=_damaged(answer.body, at))), **_for_get(when))

    def slow(self, path: str, bytes_per_second: float, **when: Unpack[When]) -> None:
        """Send the body drop by drop."""
        slow = _changed(lambda answer: replace(answer, bytes_per_second=bytes_per_second))
        self.inject(path, slow, **_for_get(when))

    # ------------------------------------------------------------ ranges

    def ignore_ranges(self, path: str, **when: Unpack[When]) -> None:
        """Send the whole file with a 200, whatever range was asked for."""
        self.inject(path, lambda request, respond: respond(replace(request, range=None)), **_for_get(when))

    def wrong_content_range(self, path: str, shift: int = 1, **when: Unpack[When]) -> None:
        """Say that a range begins and ends elsewhere."""
        self.inject(path, _changed(lambda answer: _shifted(answer, shift)), **_for_get(when))

    # ------------------------------------------------------------ any of them

    def misbehave(
        self, path: str, seed: int, *, rate: float = 0.5, kinds: str = "fail hang_up cut reset ranges"
    ) -> None:
        """Let requests go wrong at random.

        What happens to the n-th request for the same range of a path depends on the seed alone, not on which thread
        comes first.
        """
        seen: Counter[str] = Counter()
        lock = threading.Lock()

        def at_random(request: Request, respond: Respond) -> Answer:
            with lock:
                asked = f"{request.method} {request.path} {request.range}"
                seen[asked] += 1
                chance = random.Random(f"{seed} {asked} {seen[asked]}")
            if chance.random() >= rate:
                return respond(request)
            match chance.choice(kinds.split()):
                case "fail":
                    return error(chance.choice(_TRY_AGAIN), Retry_After="0")
                case "hang_up":
                    return _no_answer()
                case "ranges":
                    return respond(replace(request, range=None))
                case kind:
                    answer = respond(request)
                    place = chance.randrange(len(answer.body) + 1)
                    return replace(answer, close_after=place, reset=kind == "reset")

        self.inject(path, at_random)


def _through(fault: Fault, respond: Respond) -> Respond:
    return lambda request: fault(request, respond)


def _changed(change: Callable[[Answer], Answer]) -> Fault:
    return lambda request, respond: change(respond(request))


def _for_get(when: When) -> When:
    return {"method": "GET", **when}


def _no_answer() -> Answer:
    raise ConnectionAbortedError("the server hangs up")


def _damaged(body: bytes, at: int) -> bytes:
    return body[:at] + bytes(byte ^ 0xFF for byte in body[at : at + 1]) + body[at + 1 :]


def _shifted(answer: Answer, by: int) -> Answer:
    told = answer.headers.get("Content-Range", "")
    said = re.sub(r"(\d+)-(\d+)", lambda found: f"{int(found[1]) + by}-{int(found[2]) + by}", told)
    return answer.with_headers(Content_Range=said or None)
