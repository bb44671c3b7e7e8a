"""Resolve a name on the command line or in a list: a file, a folder, a pattern, or nothing."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

from layerzoo.errors import nearest, nearest_hint
from layerzoo.media.sample import UnusableError, shown

_REPEATED = re.compile(r"(?:\*\*/+)+")
_MOST_WILDCARDS = 3
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^/]")
"""Matches a URL, also with one slash, as pathlib writes it."""


def exists(name: str) -> bool:
    """Return whether a name exists. A dangling link and an unreadable file exist: reading them raises the reason.

    Args:
        name: a path, relative to the working directory or absolute.
    """
    try:
        os.lstat(name)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def is_url(name: str) -> bool:
    """Return whether a name is a URL, which is no name of a file here."""
    return _URL.match(name) is not None


def is_pattern(name: str) -> bool:
    """Return whether a name that does not exist is a pattern.

    Args:
        name: as written by the user.
    """
    return glob.has_magic(name) and not is_url(name)


def matches(pattern: str) -> Iterator[Path]:
    """Return the files that match a pattern, sorted. ``**`` matches folders; a leading dot must be in the pattern.

    Args:
        pattern: with ``*``, ``?``, ``[...]`` and ``**``, relative to the working directory or absolute.
    Raises: UnusableError for a pattern with more ``**`` than can be matched in reasonable time.
    """
    pattern = _REPEATED.sub("**/", pattern)
    if pattern.count("**") > _MOST_WILDCARDS:
        raise UnusableError(f"a pattern has at most {_MOST_WILDCARDS} parts that are **, and this has more")
    names = sorted(set(glob.glob(pattern, recursive=True)), key=shown)  # noqa: PTH207 - an absolute pattern, or a pathless one
    return (path for path in map(Path, names) if not path.is_dir())


def missing(name: str, *, hint: bool = True) -> str:
    """Return the reason for a name that does not exist, with the nearest existing names.

    Args:
        name: a path.
        hint: whether to search for the nearest names, which takes up to 20 µs for each file of the folder.
    """
    if is_url(name):
        return (
            "a URL, and files at URLs are read by runs only. Next: zoo run URL --out FOLDER, or "
            "layerzoo.run(MODEL, URL, out=FOLDER); or download it"
        )
    parent, missing_name = os.path.split(name)
    try:
        similar = nearest(missing_name, [path.name for path in Path(parent).iterdir()]) if hint else []
    except (OSError, ValueError):
        similar = []
    hint_text = nearest_hint([shown(Path(parent, name)) for name in similar])
    return f"no such file or folder. {hint_text}".removesuffix(". ")
