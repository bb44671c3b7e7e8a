"""Small files that other people may have written: a registry, a lock, a list. Standard library only.

Opening a pipe waits for a writer, reading a device may never end, and a file may grow while it is read. Each of these
is an error here, raised at once.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file to read its bytes.

    Args:
        path: the file, or a link to it.
    Returns: the open file.
    Raises: OSError, also for a folder, a pipe, a socket or a device; its ``strerror`` says which.
    """
    try:
        _require_regular(Path(path).stat().st_mode, path)  # before it is opened: opening a device may do something
        # Between the two, another program may put a pipe there. Without O_NONBLOCK, opening it waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # no path can hold the character NUL
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_small(path: str | Path, max_bytes: int) -> bytes:
    """Read a whole regular file.

    Args:
        path: the file, or a link to it.
        max_bytes: the size that is still read.
    Returns: its bytes, all of one state of the file.
    Raises: OSError, also for what :func:`open_regular` refuses, for a larger file, and for one that another program
        changes while it is read; its ``strerror`` says which.
    """
    with open_regular(path) as file:
        before = os.fstat(file.fileno())
        raw = file.read(max_bytes + 1) if before.st_size <= max_bytes else b""
        after = os.fstat(file.fileno())
    if max(len(raw), before.st_size) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {_size(max_bytes)}", str(path))
    if len(raw) != after.st_size or _is_changed(before, after):
        raise OSError(errno.EAGAIN, "another program changed it while it was read", str(path))
    return raw


def _require_regular(mode: int, path: str | Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = "socket" if stat.S_ISSOCK(mode) else "pipe or a device"
        raise OSError(errno.EINVAL, f"it is a {kind}, and not a file", str(path))


def _is_changed(before: os.stat_result, after: os.stat_result) -> bool:
    """Return whether the content of an open file may have changed. Removing or replacing its name changes none."""
    is_renamed = before.st_nlink != after.st_nlink
    return (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or (
        before.st_ctime_ns != after.st_ctime_ns and not is_renamed
    )


def _size(count: int) -> str:
    return f"{count // 1_000_000} MB" if count >= 1_000_000 else f"{count // 1000} kB"
