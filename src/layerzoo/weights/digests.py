"""The sha256 of files: computed once a process for a file that stays the same, and compared with what was declared."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from layerzoo.errors import DigestError


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex. Remembered until the file's size, time of change or inode does. Raises: OSError."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def check_sha256(path: Path, declared: str, *, advice: str) -> None:
    """Refuse a file that is not the declared one.

    advice: what to do about it, the end of the error message.
    Raises: DigestError, which names both digests.
    """
    found = sha256(path)
    if found != declared.lower():
        raise DigestError(path, declared=declared.lower(), found=found, advice=advice)


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
