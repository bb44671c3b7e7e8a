"""A file that declares models, and how its changes are noticed. Standard library only."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from typing import Literal

from layerzoo.disk import fingerprint as fingerprint_of

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")

# Two writes within one tick of the file system's clock leave the same times behind (Linux: 4 ms at 250 Hz).
_TICK_NS = 20_000_000

UNSETTLED = ""
"""The fingerprint of what changed a moment ago: it equals none, so that the next look compares again."""


@dataclass(frozen=True, slots=True)
class Source:
    """One registry.yaml, or the catalogue beside it, and whose it is; or the list of what is published."""

    path: str
    """Absolute."""
    role: Literal["core", "plugin", "user", "published"]
    """``published``: the list of models that can be installed."""
    namespace: str
    """What stands in front of every id that the file declares."""
    distribution: str | None = None
    """The distribution that ships the file; None for a user's own."""


def full_id(name: str, source: Source) -> str:
    """The id of one of the file's own models: its namespace is put in front where it is missing."""
    return name if name.startswith(f"{source.namespace}/") else f"{source.namespace}/{name}"


def is_namespace(text: str) -> bool:
    """Whether a distribution may claim this as its namespace: small letters, digits, ``-`` and ``_``."""
    return _NAMESPACE.fullmatch(text) is not None


def fingerprint(path: str) -> str | None:
    """What changes whenever the file or folder does: which it is, its times in nanoseconds, its size.

    None when there is none. A link that leads nowhere is there, and cannot be read.
    """
    found = _status(path)
    if found is None:
        return None
    now = time.time_ns()
    # Either time may be set to anything, the past and the future included; on most systems not both.
    if min(abs(now - found.st_mtime_ns), abs(now - found.st_ctime_ns)) < _TICK_NS:
        return UNSETTLED
    return fingerprint_of(found)


def settled_fingerprint(path: str) -> str | None:
    """As :func:`fingerprint`, a moment later where the file has just been written. Worth it before a long reading."""
    if (found := fingerprint(path)) == UNSETTLED:
        time.sleep(_TICK_NS / 1e9)
        found = fingerprint(path)
    return found


def _status(path: str) -> os.stat_result | None:
    for look in (os.stat, os.lstat):
        with contextlib.suppress(OSError, ValueError):  # a ValueError: no path can hold the character NUL
            return look(path)
    return None
