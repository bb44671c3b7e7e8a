"""A request and its answer."""

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
    """A client's request, and the size of the response.

    path: as in the URL, quoted, without the query.
    range: the Range header.
    token: the value after ``Bearer``.
    sent: bytes of the body that were sent so far, 0 for a HEAD.
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
        """Whether path and method match two patterns of ``fnmatch``."""
        return fnmatchcase(unquote(self.path), path) and fnmatchcase(self.method, method)


@dataclass(frozen=True)
class Answer:
    """The server's response.

    close_after: bytes of the body after which the connection is closed early.
    reset: close the connection as a crashing machine does.
    The Content-Length is the length of the body, unless a header sets another.
    """

    status: int
    headers: dict[str, str]
    body: bytes = b""
    close_after: int | None = None
    reset: bool = False
    bytes_per_second: float | None = None

    def with_headers(self, **headers: str | None) -> Answer:
        """Return a copy with other headers. ``None`` removes a header, and ``_`` means a hyphen."""
        changed = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return replace(self, headers={name: value for name, value in changed.items() if value is not None})


Respond = Callable[[Request], Answer]


def error(status: int, code: str | None = None, message: str = "", **headers: str) -> Answer:
    """Return a refusal of the hub. code: ``EntryNotFound``, ``RevisionNotFound``, ``RepoNotFound``, ``GatedRepo``."""
    error_headers = {"X_Error_Code": code, "X_Error_Message": message or None}
    return Answer(status, {"Content-Type": "text/plain"}, message.encode()).with_headers(**error_headers, **headers)


@lru_cache  # clients request many ranges of one large file
def _md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def content(request: Request, data: bytes, **headers: str) -> Answer:
    """Return a file, or its requested range."""
    whole = Answer(200, {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}, data)
    whole = whole.with_headers(**({} if "ETag" in headers else {"ETag": f'"{_md5(data)}"'}), **headers)
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.range or "")
    if match is None or match.groups() == ("", ""):
        return whole
    first, last = match.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    stop = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= stop:
        return error(416, None, "Range Not Satisfiable", Content_Range=f"bytes */{len(data)}")
    part = replace(whole, status=206, body=data[start:stop])
    return part.with_headers(Content_Range=f"bytes {start}-{stop - 1}/{len(data)}")
