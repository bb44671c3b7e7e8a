"""Files that declare models, and fingerprints that detect their changes. Standard library only."""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Any, Literal, NamedTuple

from layerzoo.disk import fingerprint as fingerprint_of

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")

# Two writes within one tick of the file system's clock result in the same times (Linux: 4 ms at 250 Hz).
_TICK_NS = 20_000_000

RACY = ""
"""The fingerprint of a file that has just changed. It equals no other, because a second change may keep the times."""


class RegistrySource(NamedTuple):
    """A registry.yaml, its catalogue, or the list of published models, and the owner of the file."""

    path: str
    """The absolute path."""
    role: Literal["core", "plugin", "user", "published"]
    """``published``: the list of models that can be installed."""
    namespace: str
    """The prefix of each id that the file declares."""
    distribution: str | None = None
    """The distribution that contains the file; None for a user's file."""


def full_id(name: str, source: RegistrySource) -> str:
    """Return the id of a model that the file declares: its name with the namespace, unless it has it already."""
    return name if name.startswith(f"{source.namespace}/") else f"{source.namespace}/{name}"


def is_namespace(text: str) -> bool:
    """Return whether this is a valid namespace: lower-case letters, digits, ``-`` and ``_``."""
    return _NAMESPACE.fullmatch(text) is not None


def fingerprint(path: str) -> str | None:
    """Return a text that changes with the file or folder: inode, times in nanoseconds, and size.

    None if it does not exist. A dangling link exists, but cannot be read.
    """
    status = _status(path)
    if status is None:
        return None
    now_ns = time.time_ns()
    # A program can set either time to any value; on most systems not both.
    if min(abs(now_ns - status.st_mtime_ns), abs(now_ns - status.st_ctime_ns)) < _TICK_NS:
        return RACY
    return fingerprint_of(status)


def stable_fingerprint(path: str) -> str | None:
    """Return :func:`fingerprint`. If the file has just changed, wait 20 ms first, so that the result is not RACY."""
    if (state := fingerprint(path)) == RACY:
        time.sleep(_TICK_NS / 1e9)
        state = fingerprint(path)
    return state


def _status(path: str) -> os.stat_result | None:
    for look in (os.stat, os.lstat):
        with contextlib.suppress(OSError, ValueError):  # ValueError: the path contains the character NUL
            return look(path)
    return None


def with_full_base(fields: dict[str, Any], source: RegistrySource) -> dict[str, Any]:
    """Complete the id of a base: without a slash, it is a model of the same file."""
    if "base" in fields and "/" not in fields["base"]:
        fields["base"] = full_id(fields["base"], source)
    return fields
