"""Fetch some bytes of a file on a server, or all of them."""

from __future__ import annotations

import contextlib
import queue
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerzoo.errors import ChangedError, ConnectionFailedError, RateLimitedError, ServerError
from layerzoo.isolation import own_network
from layerzoo.weights.network.connection import (
    MAY_PASS,
    TRIES,
    TRY_LATER,
    cannot_reach,
    pause,
    require_connection,
    stated_pause_s,
    timeout_s,
    translated,
    unreached_host,
)
from layerzoo.weights.spans import Span

if TYPE_CHECKING:
    import httpx2

_PROGRESS_BYTES = 1 << 16
"""The number of received bytes after which earlier failures no longer count."""
_SLOWEST_BYTES_PER_S = 1000
"""Fewer bytes than this within the timeout count as silence."""
_HEADER_TIMEOUTS = 4
"""The time until the body of an answer begins, redirects included, as a multiple of the timeout."""
_COST_OF_SLOWNESS = 3
"""The number of failures that a slow answer counts as: a slow server gets two tries instead of TRIES."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The URL of one remote file, and the headers that its server must send."""

    url: str
    label: str
    """The name of the file in errors."""
    expected: Mapping[str, str]
    """Headers that must have these values if the server sends them."""
    is_on_hub: bool


class RangesIgnoredError(Exception):
    """A server answered a request for some bytes with all bytes, or with other ones."""


def web_endpoint(url: str, mirror: str | None = None) -> Endpoint:
    """Return the endpoint of a link.

    Args:
        url: the link.
        mirror: the address that the file is fetched from; None or the link itself without a mirror.
    """
    if mirror is None or mirror == url:
        return Endpoint(url, url, {}, is_on_hub=False)
    return Endpoint(mirror, f"{url} (mirror: {mirror})", {}, is_on_hub=False)


def size_of(endpoint: Endpoint) -> int:
    """Return the size of a file, from the answer to a request for its first byte.

    Raises: UnavailableError; ServerError if the server does not state the size.
    """
    failures = 0
    while True:
        try:
            # Not a HEAD request: signed links are good for GET alone.
            with answer_of(endpoint, "GET", {"Range": "bytes=0-0"}) as response:
                stated = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
                size = stated[3] if stated else response.headers.get("content-length", "")
                if size.isdecimal():
                    return int(size)
                raise ServerError(f"{endpoint.label}: the server does not say how large the file is")
        except _PassingError as error:
            failures += error.cost
            _wait_or_give_up(endpoint, error, failures)


def fetch(endpoint: Endpoint, span: Span, size: int, write: Callable[[int, bytes], None]) -> str | None:
    """Fetch some bytes of a file. A connection that breaks is resumed where it broke.

    Args:
        endpoint: of the file.
        span: the bytes to fetch.
        size: of the whole file.
        write: called with the position and the content of each received part.
    Returns: the etag of the file, if the server sends one.
    Raises: RangesIgnoredError, ChangedError, UnavailableError.
    """
    at, etag, failures = span.start, None, 0
    while at < span.stop:
        attempt_start = at
        try:
            with answer_of(endpoint, "GET", {"Range": f"bytes={at}-{span.stop - 1}"}) as response:
                _require_range(response, endpoint, Span(at, span.stop), size)
                etag = _same_etag(endpoint, etag, response.headers.get("etag"))
                for chunk in _chunks(response):
                    part = chunk[: span.stop - at]
                    write(at, part)
                    at += len(part)
        except _PassingError as error:
            failures = failures + error.cost if at - attempt_start < _PROGRESS_BYTES else error.cost
            _wait_or_give_up(endpoint, error, failures)
        else:
            if at == attempt_start:
                raise ServerError(f"{endpoint.label}: the server sent nothing of bytes {at} to {span.stop - 1}")
    return etag


def read_all(endpoint: Endpoint, largest_bytes: int) -> bytes:
    """Ask for a whole document of a server's own making, whose size is not known before.

    Raises: ServerError for one that is larger than ``largest_bytes``; UnavailableError.
    """
    failures = 0
    while True:
        try:
            with answer_of(endpoint, "GET", {}) as response:
                document = bytearray()
                for chunk in _chunks(response):
                    document += chunk
                    if len(document) > largest_bytes:
                        raise ServerError(
                            f"{endpoint.label}: the server's answer is larger than {largest_bytes:,} bytes and was "
                            "not read to its end"
                        )
                return bytes(document)
        except _PassingError as error:
            failures += error.cost
            _wait_or_give_up(endpoint, error, failures)


def fetch_all(endpoint: Endpoint, size: int, write: Callable[[int, bytes], None]) -> None:
    """Ask for a whole file, from its start again each time that the connection breaks.

    size: of the file.
    Raises: ChangedError when the server has more bytes, or fewer; UnavailableError.
    """
    failures = 0
    while True:
        try:
            with answer_of(endpoint, "GET", {}) as response:
                if (stated := response.headers.get("content-length", str(size))) != str(size):
                    raise _changed(endpoint, "size", str(size), stated)
                at = 0
                for chunk in _chunks(response):
                    if at + len(chunk) > size:
                        raise _changed(endpoint, "size", str(size), f"more than {size}")
                    write(at, chunk)
                    at += len(chunk)
                if at < size:
                    raise _changed(endpoint, "size", str(size), str(at))
                return
        except _PassingError as error:
            failures += error.cost
            _wait_or_give_up(endpoint, error, failures)


def _require_range(response: httpx2.Response, endpoint: Endpoint, span: Span, size: int) -> None:
    stated = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if response.status_code != 206 or not stated or (int(stated[1]), int(stated[2])) != (span.start, span.stop - 1):
        raise RangesIgnoredError
    if stated[3] not in ("*", str(size)):
        raise _changed(endpoint, "size", str(size), stated[3])


def _same_etag(endpoint: Endpoint, previous: str | None, current: str | None) -> str | None:
    if previous is not None and current is not None and previous != current:
        raise _changed(endpoint, "etag", previous, current)
    return current or previous


def _changed(endpoint: Endpoint, attribute: str, previous: str, current: str) -> ChangedError:
    return ChangedError(
        f"{endpoint.label} is not the file on the server that it was: its {attribute} was {previous}, and is {current} "
        "now. Nothing of it is used. Next: try again; if that does not help, ask its owner what happened"
    )


def _chunks(response: httpx2.Response) -> Iterator[bytes]:
    """Yield the body in parts. Raises: _PassingError if fewer bytes than the minimum arrive within the timeout."""
    since, came = time.monotonic(), 0
    for chunk in response.iter_raw():
        yield chunk
        came += len(chunk)
        if (passed := time.monotonic() - since) > timeout_s():
            if came < _SLOWEST_BYTES_PER_S * passed:
                raise _PassingError(f"only {came} bytes came in {passed:.1f} s", cost=_COST_OF_SLOWNESS)
            since, came = time.monotonic(), 0


# ---------------------------------------------------------------- one request


class _PassingError(Exception):
    """A temporary failure. cost: the number of TRIES that it counts as. host: one that cannot be reached."""

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        pause_s: float | None = None,
        cost: int = 1,
        host: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.pause_s = pause_s
        self.cost = cost
        self.host = host


@contextlib.contextmanager
def answer_of(endpoint: Endpoint, method: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
    """Send one request and yield the answer before its body is read. Raises: _PassingError for a temporary failure."""
    require_connection(endpoint.label)
    import httpx2
    from huggingface_hub.utils import build_hf_headers, get_session

    try:
        session = get_session()
    except OSError as error:
        message = (
            f"{endpoint.label}: no secure connection can be made: {error}. Next: look at SSL_CERT_FILE and SSL_CERT_DIR"
        )
        raise ConnectionFailedError(message) from error
    own = build_hf_headers() if endpoint.is_on_hub else {}
    sent = {**own, **headers, "Accept-Encoding": "identity"}
    try:
        request = session.build_request(method, endpoint.url, headers=sent, timeout=timeout_s())
        with contextlib.closing(_sent(session, request)) as response:
            if response.status_code in MAY_PASS:
                raise _PassingError(
                    f"the server answers {response.status_code}",
                    status=response.status_code,
                    pause_s=stated_pause_s(response),
                )
            with translated(endpoint.label, is_on_hub=endpoint.is_on_hub):
                _raise_for_status(response)
            _require_expected(response, endpoint)
            yield response
    except httpx2.TransportError as error:
        if _is_about_certificate(error):
            advice = "Next: if you trust who signed its certificate, name the file of that with SSL_CERT_FILE"
            raise ConnectionFailedError(
                f"{endpoint.label}: the server cannot prove who it is: {error}. {advice}"
            ) from error
        raise _PassingError(str(error) or type(error).__name__, host=unreached_host(error)) from error
    except (httpx2.TooManyRedirects, httpx2.InvalidURL):
        with translated(endpoint.label):
            raise


def _is_about_certificate(error: BaseException | None) -> bool:
    """Return True if an error, or one of its causes, is about the certificate of a server."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _sent(session: httpx2.Client, request: httpx2.Request) -> httpx2.Response:
    """Send a request, and return the answer as soon as its body begins.

    In a separate thread: a server that sends a byte of its headers now and then is never silent, and no timeout of
    the HTTP library ends that. A thread that is given up ends when the server closes the connection.
    Raises: the exceptions of the HTTP library; _PassingError if the headers do not arrive in time.
    """
    answers: queue.SimpleQueue[httpx2.Response | BaseException] = queue.SimpleQueue()
    given_up = threading.Event()

    def send() -> None:
        try:
            with own_network():
                response = session.send(request, stream=True, follow_redirects=True)
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            answers.put(error)
            return
        answers.put(response)
        if given_up.is_set():
            response.close()

    threading.Thread(target=send, name="layerzoo-request", daemon=True).start()
    limit_s = _HEADER_TIMEOUTS * timeout_s()
    try:
        answer = answers.get(timeout=limit_s)
    except queue.Empty:
        given_up.set()
        raise _PassingError(f"its answer did not begin in {limit_s:g} s", cost=TRIES) from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _wait_or_give_up(endpoint: Endpoint, error: _PassingError, failures: int) -> None:
    """Before the next try, longer each time. Raises: UnavailableError, after the last."""
    if failures < TRIES:
        pause(failures, error.pause_s)
        return
    kind = {None: ConnectionFailedError, 429: RateLimitedError}.get(error.status, ServerError)
    if error.host is not None:
        raise ConnectionFailedError(cannot_reach(error.host, endpoint.label)) from error
    times = f", {failures} times in a row" if error.cost == 1 else ""
    raise kind(f"{endpoint.label} is not available now: {error}{times}. {TRY_LATER}") from error


def _raise_for_status(response: httpx2.Response) -> None:
    from huggingface_hub.utils import hf_raise_for_status

    if response.status_code >= 400:
        response.read()
        hf_raise_for_status(response)


def _require_expected(response: httpx2.Response, endpoint: Endpoint) -> None:
    """Compare the headers that identify a file on the hub, which are in its first answer, before any redirect.

    Raises: ChangedError for another file; ServerError for compressed bytes, in which a range of bytes is meaningless.
    """
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ServerError(f"{endpoint.label}: the server sends it compressed, although it was asked not to")
    for answer in (*response.history, response):
        for name, expected in endpoint.expected.items():
            actual = answer.headers.get(name, expected).removeprefix("W/").strip('"')
            if actual != expected:
                raise _changed(endpoint, name, expected, actual)
