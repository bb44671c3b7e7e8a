"""Open connections if they are allowed, and translate their failures into named errors."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from typing import Any

from layerzoo.errors import (
    AccessDeniedError,
    CacheError,
    ConnectionFailedError,
    LayerzooError,
    MissingOnServerError,
    OfflineError,
    RateLimitedError,
    ServerError,
    WeightsError,
)
from layerzoo.extras import needs

TRY_LATER = "Next: try again later"
TRIES = 5
"""The number of tries of a request that fails temporarily: no answer, a cut connection, or a status of MAY_PASS."""
MAY_PASS = frozenset({408, 429, 500, 502, 503, 504})
"""The statuses of temporary failures."""

_GET_ACCESS = "Next: ask for access on its page, then `hf auth login` or HF_TOKEN=…"
_LONGEST_PAUSE_S = 30.0
_TIMEOUT_S = 30.0
_OFFLINE = ("LAYERZOO_OFFLINE", "HF_HUB_OFFLINE")


def is_offline() -> bool:
    """Return whether connections are switched off: LAYERZOO_OFFLINE=1, or HF_HUB_OFFLINE=1 as for other libraries."""
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in _OFFLINE)


def require_connection(label: str) -> None:
    """Raise OfflineError if connections are switched off, MissingLibraryError without huggingface_hub."""
    if is_offline():
        raise OfflineError(f"{label} is not on this machine, and no connection may be opened (offline)")
    with needs("hub"):
        import huggingface_hub  # noqa: F401


def timeout_s() -> float:
    """Return the seconds to wait for a silent server: HF_HUB_DOWNLOAD_TIMEOUT, as for other libraries, else 30."""
    try:
        return float(os.environ["HF_HUB_DOWNLOAD_TIMEOUT"])
    except (KeyError, ValueError):
        return _TIMEOUT_S


def stated_pause_s(response: Any) -> float | None:
    """Return the seconds that a server asks to wait; None if it does not ask."""
    stated = response.headers.get("retry-after", "")
    return float(stated) if stated.isdecimal() else None


def pause(failures: int, wanted_s: float | None = None) -> None:
    """Wait before the next try: as long as the server asks, at most half a minute; else longer each time."""
    time.sleep(min(0.2 * 2**failures if wanted_s is None else wanted_s, _LONGEST_PAUSE_S))


@contextlib.contextmanager
def translated(label: str, *, is_on_hub: bool = True) -> Iterator[None]:
    """huggingface_hub's errors as ours."""
    import httpx2
    from huggingface_hub import errors as hub

    try:
        yield
    except hub.OfflineModeIsEnabled as error:
        message = f"{label} is not on this machine, and no connection may be opened (HF_HUB_OFFLINE)"
        raise OfflineError(message) from error
    except hub.HfHubHTTPError as error:
        raise (_of_hub(label, error) if is_on_hub else _of_status(label, error.response.status_code)) from error
    except hub.LocalEntryNotFoundError as error:
        # huggingface_hub wraps any failure of a request for a file in this error.
        if isinstance(cause := error.__cause__, hub.HfHubHTTPError):
            raise _of_hub(label, cause) from cause
        raise ConnectionFailedError(_failure(label, cause or error)) from error
    except httpx2.TooManyRedirects as error:
        raise ServerError(f"{label}: the server sends those who ask for it in circles. {TRY_LATER}") from error
    except httpx2.InvalidURL as error:
        raise ServerError(f"{label} redirects to an invalid address: {error}") from error
    except httpx2.HTTPError as error:
        raise ConnectionFailedError(_failure(label, error)) from error
    except hub.HFValidationError as error:
        raise WeightsError(f"{label} is not a repository of the hub: {error}") from error
    except OSError as error:
        raise _of_disk(label, error) from error


def unreached_host(error: BaseException) -> str | None:
    """Return the host to which no connection could be opened; None if an error is another one."""
    import httpx2

    if not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return None
    try:
        return error.request.url.netloc.decode("ascii", "replace")
    except RuntimeError:  # raised without its request
        return "the server"


def cannot_reach(host: str, label: str) -> str:
    """Return the message for a host to which no connection could be opened."""
    return f"Cannot reach {host}. Check your connection. {label} is not on this machine"


def _failure(label: str, error: BaseException) -> str:
    if (host := unreached_host(error)) is not None:
        return cannot_reach(host, label)
    return f"{label} is not available now: {str(error) or type(error).__name__}. {TRY_LATER}"


def _of_hub(label: str, error: Any) -> LayerzooError:
    """Return the error for an answer of the hub, by its error code, else by its status."""
    from huggingface_hub import errors as hub

    status = error.response.status_code
    if isinstance(error, hub.DisabledRepoError):
        return AccessDeniedError(f"{label}: the hub has closed this repository to everybody ({status})")
    if isinstance(error, hub.GatedRepoError):
        cause = "you sent no token" if status == 401 else "your token has none"
        return AccessDeniedError(
            f"{label}: the repository gives its files to those with access alone, and {cause} ({status}). {_GET_ACCESS}"
        )
    if status == 403:
        return AccessDeniedError(f"{label}: your token has no access ({status}). {_GET_ACCESS}")
    if isinstance(error, hub.RevisionNotFoundError):
        return MissingOnServerError(f"{label}: the repository has no such branch, tag or commit")
    if isinstance(error, hub.RemoteEntryNotFoundError):
        return MissingOnServerError(f"{label}: the repository has no such file at that revision")
    if isinstance(error, hub.RepositoryNotFoundError) or status == 401:
        return AccessDeniedError(
            f"{label}: there is no such repository, or it is private and your token has no access ({status}). "
            f"Check its name. {_GET_ACCESS}"
        )
    return _of_status(label, status)


def _of_status(label: str, status: int) -> LayerzooError:
    """Return the error for the answer of any server, by its status."""
    if status in (401, 403):
        return AccessDeniedError(f"{label}: the server requires a password ({status})")
    if status in (404, 410):
        return MissingOnServerError(f"{label}: the server has no such file ({status})")
    if status == 429:
        return RateLimitedError(f"{label}: the server wants fewer requests (429). {TRY_LATER}")
    return ServerError(f"{label}: the server answers {status}. {TRY_LATER}")


def _of_disk(label: str, error: OSError) -> LayerzooError:
    if error.errno is None:  # huggingface_hub's check of the size of the download
        return ConnectionFailedError(f"{label} did not come whole: {str(error).splitlines()[0]}")
    reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else str(error)
    return CacheError(
        f"{label} cannot be kept: {reason}. HF_HOME=FOLDER and LAYERZOO_CACHE=FOLDER choose other folders"
    )
