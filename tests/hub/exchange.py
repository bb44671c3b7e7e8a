"""One request, and the answer to it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import unquote


@dataclass
class Request:
    """What a client asked, and what it was sent.

    path: as in the URL, quoted, without the query. range: the Range header. token: what followed ``Bearer``.
    sent: bytes of the body that went out so far, 0 for a HEAD.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    range: str | None = None
    token: str | None = None
    form: dict[str, list[str]] = field(default_factory=dict)
    status: int = 0
    sent: int = 0

    def matches(self, path: str, method: str = "*") -> bool:
        """Whether this request is meant by two patterns as ``fnmatch`` has them."""
        return fnmatchcase(unquote(self.path), path) and fnmatchcase(self.method, method)


@dataclass(frozen=True)
class Answer:
    """What the server sends.

    close_after: bytes of the body after which the connection is closed, in the middle of what was promised; ``reset``
    closes it as a crashing machine does. The body's length is the Content-Length, unless a header says another.
    """

    status: int
    headers: dict[str, str]
    body: bytes = b""
    close_after: int | None = None
    reset: bool = False
    bytes_per_second: float | None = None

    def with_headers(self, **headers: str | None) -> Answer:
        """The same with other headers; ``None`` leaves one out, and ``_`` stands for a hyphen."""
        changed = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return replace(self, headers={name: value for name, value in changed.items() if value is not None})


Respond = Callable[[Request], Answer]


def error(status: int, code: str | None = None, message: str = "", **headers: str) -> Answer:
    """A refusal, in the hub's words. code: ``EntryNotFound``, ``RevisionNotFound``, ``RepoNotFound``, ``GatedRepo``."""
    told = {"X_Error_Code": code, "X_Error_Message": message or None}
    return Answer(status, {"Content-Type": "text/plain"}, message.encode()).with_headers(**told, **headers)


@lru_cache  # many ranges of one large file are asked for
def _md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def content(request: Request, data: bytes, **headers: str) -> Answer:
    """A file, or the range of it that was asked for."""
    whole = Answer(200, {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}, data)
    whole = whole.with_headers(**({} if "ETag" in headers else {"ETag": f'"{_md5(data)}"'}), **headers)
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.range or "")
    if asked is None or asked.groups() == ("", ""):
        return whole
    first, last = asked.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    stop = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= stop:
        return error(416, None, "Range Not Satisfiable", Content_Range=f"bytes */{len(data)}")
    part = replace(whole, status=206, body=data[start:stop])
    return part.with_headers(Content_Range=f"bytes {start}-{stop - 1}/{len(data)}")
