"""Some bytes of a file on a server, or all of them."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerzoo.errors import ChangedError, ConnectionFailedError, RateLimitedError, ServerError
from layerzoo.weights.network.connection import (
    MAY_PASS,
    TRIES,
    TRY_LATER,
    pause,
    require_connection,
    stated_pause_s,
    timeout_s,
    translated,
)
from layerzoo.weights.spans import Span

if TYPE_CHECKING:
    import httpx2

_PROGRESS_BYTES = 1 << 16
"""So many bytes make up for a failure."""
_SLOWEST_BYTES_PER_S = 1000
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of one file can be asked for."""

    url: str
    label: str
    """What errors call it."""
    expected: Mapping[str, str]
    """Headers that a server must repeat unchanged where it sends them at all."""
    is_on_hub: bool


class RangesIgnoredError(Exception):
    """A server answers a request for some bytes with all of them, or with others."""


def web_place(url: str) -> Place:
    """Where the bytes behind a link can be asked for."""
    return Place(url, url, {}, is_on_hub=False)


def size_of(place: Place) -> int:
    """How many bytes a file has, as its server says when it is asked for the first one.

    Raises: UnavailableError of the kind that fits; ServerError where it does not say.
    """
    failures = 0
    while True:
        try:
            # Not a HEAD request: signed links are good for GET alone.
            with _answer(place, "GET", {"Range": "bytes=0-0"}) as response:
                stated = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
                size = stated[3] if stated else response.headers.get("content-length", "")
                if size.isdecimal():
                    return int(size)
                raise ServerError(f"{place.label}: the server does not say how large the file is")
        except _PassingError as error:
            failures += 1
            _wait_or_give_up(place, error, failures)


def fetch(place: Place, span: Span, size: int, write: Callable[[int, bytes], None]) -> str | None:
    """Ask for some bytes of a file and hand them on as they come, with their place in the file.

    size: of the whole file. A connection that breaks is taken up again where it broke.
    Returns: the etag that the bytes were served under, where the server tells one.
    Raises: RangesIgnoredError, ChangedError, or UnavailableError of the kind that fits.
    """
    at, etag, failures = span.start, None, 0
    while at < span.stop:
        before = at
        try:
            with _answer(place, "GET", {"Range": f"bytes={at}-{span.stop - 1}"}) as response:
                _require_range(response, place, Span(at, span.stop), size)
                etag = _same_etag(place, etag, response.headers.get("etag"))
                for chunk in _chunks(response):
                    wanted = chunk[: span.stop - at]
                    write(at, wanted)
                    at += len(wanted)
        except _PassingError as error:
            failures = failures + 1 if at - before < _PROGRESS_BYTES else 1
            _wait_or_give_up(place, error, failures)
        else:
            if at == before:
                raise ServerError(f"{place.label}: the server sent nothing of bytes {at} to {span.stop - 1}")
    return etag


def fetch_all(place: Place, size: int, write: Callable[[int, bytes], None]) -> None:
    """Ask for a whole file, from its start again each time that the connection breaks.

    size: of the file.
    Raises: ChangedError when the server has more bytes, or fewer; UnavailableError of the kind that fits.
    """
    failures = 0
    while True:
        try:
            with _answer(place, "GET", {}) as response:
                if (stated := response.headers.get("content-length", str(size))) != str(size):
                    raise _changed(place, "size", str(size), stated)
                at = 0
                for chunk in _chunks(response):
                    if at + len(chunk) > size:
                        raise _changed(place, "size", str(size), f"more than {size}")
                    write(at, chunk)
                    at += len(chunk)
                if at < size:
                    raise _changed(place, "size", str(size), str(at))
                return
        except _PassingError as error:
            failures += 1
            _wait_or_give_up(place, error, failures)


def _require_range(response: httpx2.Response, place: Place, span: Span, size: int) -> None:
    stated = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if response.status_code != 206 or not stated or (int(stated[1]), int(stated[2])) != (span.start, span.stop - 1):
        raise RangesIgnoredError
    if stated[3] not in ("*", str(size)):
        raise _changed(place, "size", str(size), stated[3])


def _same_etag(place: Place, before: str | None, now: str | None) -> str | None:
    if before is not None and now is not None and before != now:
        raise _changed(place, "etag", before, now)
    return now or before


def _changed(place: Place, what: str, before: str, now: str) -> ChangedError:
    return ChangedError(
        f"{place.label} is not the file on the server that it was: its {what} was {before}, and is {now} now. "
        "Nothing of it is used. Next: try again; if that does not help, ask its owner what happened"
    )


def _chunks(response: httpx2.Response) -> Iterator[bytes]:
    """The body as it comes. Raises: _PassingError where it only drips, for as long as a server may be silent."""
    since, came = time.monotonic(), 0
    for chunk in response.iter_raw():
        yield chunk
        came += len(chunk)
        if (passed := time.monotonic() - since) > timeout_s():
            if came < _SLOWEST_BYTES_PER_S * passed:
                raise _PassingError(f"only {came} bytes came in {passed:.1f} s")
            since, came = time.monotonic(), 0


# ---------------------------------------------------------------- one request


class _PassingError(Exception):
    """A failure that may be gone at the next try."""

    def __init__(self, reason: str, *, status: int | None = None, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.pause_s = pause_s


@contextlib.contextmanager
def _answer(place: Place, method: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
    """The answer to one request, its body still to be read. Raises: _PassingError for what may pass."""
    require_connection(place.label)
    import httpx2
    from huggingface_hub.utils import build_hf_headers, get_session

    try:
        session = get_session()
    except OSError as error:
        told = f"{place.label}: no secure connection can be made: {error}. Next: look at SSL_CERT_FILE and SSL_CERT_DIR"
        raise ConnectionFailedError(told) from error
    own = build_hf_headers() if place.is_on_hub else {}
    sent = {**own, **headers, "Accept-Encoding": "identity"}
    try:
        with session.stream(method, place.url, headers=sent, timeout=timeout_s()) as response:
            if response.status_code in MAY_PASS:
                raise _PassingError(
                    f"the server answers {response.status_code}",
                    status=response.status_code,
                    pause_s=stated_pause_s(response),
                )
            with translated(place.label, is_on_hub=place.is_on_hub):
                _raise_for_status(response)
            _require_expected(response, place)
            yield response
    except httpx2.TransportError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            advice = "Next: if you trust who signed its certificate, name the file of that with SSL_CERT_FILE"
            raise ConnectionFailedError(
                f"{place.label}: the server cannot prove who it is: {error}. {advice}"
            ) from error
        raise _PassingError(str(error) or type(error).__name__) from error
    except (httpx2.TooManyRedirects, httpx2.InvalidURL):
        with translated(place.label):
            raise


def _wait_or_give_up(place: Place, error: _PassingError, failures: int) -> None:
    """Before the next try, longer each time. Raises: UnavailableError of the kind that fits, after the last."""
    if failures < TRIES:
        pause(failures, error.pause_s)
        return
    kind = {None: ConnectionFailedError, 429: RateLimitedError}.get(error.status, ServerError)
    raise kind(f"{place.label} cannot be had now: {error}, {failures} times in a row. {TRY_LATER}") from error


def _raise_for_status(response: httpx2.Response) -> None:
    from huggingface_hub.utils import hf_raise_for_status

    if response.status_code >= 400:
        response.read()
        hf_raise_for_status(response)


def _require_expected(response: httpx2.Response, place: Place) -> None:
    """What identifies a file on the hub stands in its own answer, before it sends on to where the bytes are.

    Raises: ChangedError for another file; ServerError for bytes that are packed, of which a range means nothing.
    """
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ServerError(f"{place.label}: the server sends it compressed, although it was asked not to")
    for each in (*response.history, response):
        for name, before in place.expected.items():
            now = each.headers.get(name, before).removeprefix("W/").strip('"')
            if now != before:
                raise _changed(place, name, before, now)
