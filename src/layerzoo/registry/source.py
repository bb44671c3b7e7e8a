"""A file that declares models, and how its changes are noticed. Standard library only."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import Literal

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")

# Two writes within one tick of the file system's clock leave the same times behind (Linux: 4 ms at 250 Hz).
_TICK_NS = 20_000_000

UNSETTLED = ""
"""The fingerprint of what changed a moment ago: it equals none, so that the next look compares again."""


@dataclass(frozen=True, slots=True)
class Source:
    """One registry.yaml, or the catalogue beside it, and whose it is."""

    path: str
    """Absolute."""
    role: Literal["core", "plugin", "user"]
    namespace: str
    """What stands in front of every id that the file declares."""
    distribution: str | None = None
    """The distribution that ships the file; None for a user's own."""


def is_namespace(text: str) -> bool:
    """Whether a distribution may claim this as its namespace: small letters, digits, ``-`` and ``_``."""
    return _NAMESPACE.fullmatch(text) is not None


def fingerprint(path: str) -> str | None:
    """What changes whenever the file or folder does: times in nanoseconds and size. None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a start of the command line takes dozens of these
    except OSError:
        return None
    if abs(time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns)) < _TICK_NS:
        return UNSETTLED
    return f"{found.st_mtime_ns}.{found.st_ctime_ns}.{found.st_size}"
