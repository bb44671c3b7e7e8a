"""Write files that appear whole or not at all, remove what killed processes left."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from layerzoo.paths import TEMPORARY

try:
    import fcntl
except ImportError:  # Windows
    _flock = None
else:
    _flock = fcntl.flock

KILLED_AFTER_S = 86_400.0
"""The age at which a temporary file counts as left by a killed process where its lock cannot tell."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_NO_SYNC = {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}
"""The errors of a folder that cannot be synced: one without read permission, or on some network file systems."""
_own: dict[Path, int] = {}
"""The temporary files of this process, with the id of the process (a fork inherits this mapping)."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield the path of a temporary file in the folder of ``target``, which replaces ``target`` at the end.

    ``target`` is never seen half-written, not even after a power cut; an exception, Ctrl-C included, leaves it as it
    was. The temporary file exists already and must be written in place, not replaced by another one.
    The folder must exist. Raises: OSError.
    """
    with scratch_path(target.parent) as path:
        yield path
        replace(path, target)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk. Raises: OSError."""
    if path.is_dir():
        _sync_folder(path)
    else:
        _sync(path)


def replace(path: Path, target: Path) -> None:
    """Move a file to another name on the same disk so that a power cut leaves either the old or the whole new file.

    Raises: OSError; with ``errno.EXDEV`` where the two are on different disks.
    """
    _sync(path)
    path.replace(target)
    _sync_folder(target.parent)


@contextmanager
def scratch_path(folder: Path) -> Iterator[Path]:
    """Yield the path of a new, empty temporary file in ``folder``, and remove the file at the end.

    The process holds a lock on the file, so that other processes can tell it from one that a killed process left.
    Those are removed first. Raises: OSError.
    """
    remove_leftovers(folder)
    path, descriptor = _create(folder)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        _own.pop(path, None)
        os.close(descriptor)


def fingerprint(status: os.stat_result) -> str:
    """Return a text that changes whenever a file does: its inode, its times in nanoseconds and its size.

    Args:
        status: of the file.
    """
    return f"{status.st_ino}.{status.st_mtime_ns}.{status.st_ctime_ns}.{status.st_size}"


def is_scratch(name: str) -> bool:
    """Return whether a file of this name is a temporary file of layerzoo."""
    return name.startswith(TEMPORARY[0]) and name.endswith(TEMPORARY[1])


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder. What cannot be removed stays."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        leftovers = [Path(entry.path) for entry in entries if is_scratch(entry.name)]
        for path in leftovers:
            with contextlib.suppress(OSError):
                remove_leftover(path)


def remove_leftover(path: Path, *, dry_run: bool = False) -> bool:
    """Remove a temporary file unless a process is writing it.

    A process that writes holds a lock on its file, and the lock ends with the process. On another machine's file (of a
    shared disk), or where the disk has no locks, the age counts: see :data:`KILLED_AFTER_S`.

    Args:
        path: the file; a link is not followed.
        dry_run: leave the file.
    Returns: whether it was removed, or would be.
    Raises: OSError; FileNotFoundError where another process was faster.
    """
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    try:
        state = os.fstat(descriptor)
        is_locked = lock(descriptor)
        is_known = is_locked is not None and path.name.startswith(f"{TEMPORARY[0]}{machine()}-")
        is_old = time.time() - state.st_mtime > KILLED_AFTER_S
        if not stat.S_ISREG(state.st_mode) or is_locked is False or not (is_known or is_old):
            return False
        if not dry_run and is_same(path, state):
            path.unlink()
        return True
    finally:
        os.close(descriptor)


def remove_own() -> None:
    """Remove the temporary files of this process, for one that is about to end without unwinding."""
    for path, process in list(_own.items()):
        if process == os.getpid():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _create(folder: Path) -> tuple[Path, int]:
    """Create a temporary file and lock it. Returns its path, and the descriptor that holds the lock."""
    while True:
        path = folder / f"{TEMPORARY[0]}{machine()}-{os.urandom(8).hex()}{TEMPORARY[1]}"
        _own[path] = os.getpid()
        descriptor = None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            # Another process may take the file for one that was left before the lock is on it: then try another name.
            if lock(descriptor) is not False and is_same(path, os.fstat(descriptor)):
                return path, descriptor
        except BaseException:
            if descriptor is not None:
                path.unlink(missing_ok=True)
                os.close(descriptor)
            _own.pop(path, None)
            raise
        path.unlink(missing_ok=True)
        os.close(descriptor)
        _own.pop(path, None)


def lock(descriptor: int) -> bool | None:
    """Lock an open file for this process alone, without waiting. The lock ends with the process.

    Returns: False where another process holds the lock, None where the disk has no locks. Raises: OSError.
    """
    if _flock is None:
        return None
    try:
        _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def is_same(path: Path, state: os.stat_result) -> bool:
    """Return whether a path still leads to a file that was opened by it."""
    try:
        current = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (current.st_dev, current.st_ino) == (state.st_dev, state.st_ino)


@lru_cache(maxsize=1)
def machine() -> str:
    """Return eight hex digits that are the same for all processes that share the locks of this kernel."""
    import hashlib
    import platform

    try:
        identity = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except (OSError, ValueError):
        identity = platform.node()
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def _sync(path: Path) -> None:
    """Wait until the bytes are on the disk: a rename may reach it before them, and a power cut leave an empty file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where that can be done."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder that may be written and not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
