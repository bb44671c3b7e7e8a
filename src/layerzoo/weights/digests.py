"""The digests of files: computed once for a file that stays the same, and compared with what was declared."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from layerzoo.errors import DigestError
from layerzoo.paths import digests_path

_SHA256_DIGITS = 64
_READ_BYTES = 1 << 20
_TABLE = "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, state TEXT, sha256 TEXT)"


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex. Remembered until its size, time of change or inode does. Raises: OSError."""
    return _remembered(path, _state(path))


def files_of(digest: str) -> list[Path]:
    """The files that were found to have this sha256, and have not changed since."""
    with contextlib.suppress(sqlite3.Error, OSError), _memory() as memory:
        rows = memory.execute("SELECT path, state FROM digests WHERE sha256 = ?", (digest,)).fetchall()
        return [Path(path) for path, state in rows if Path(path).is_file() and _state(Path(path)) == state]
    return []


def content_digest(path: Path, *, like: str) -> str:
    """The digest of a file's bytes as they are now, of the kind that ``like`` is: a sha256, or git's sha1 of a blob.

    Source of the latter: Chacon and Straub, "Pro Git", section "Git Objects".
    Raises: OSError.
    """
    with path.open("rb") as file:
        if len(like) == _SHA256_DIGITS:
            return hashlib.file_digest(file, "sha256").hexdigest()
        found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        while chunk := file.read(_READ_BYTES):
            found.update(chunk)
        return found.hexdigest()


def check_sha256(path: Path, declared: str, *, advice: str) -> None:
    """Refuse a file that is not the declared one.

    advice: what to do about it, the end of the error message.
    Raises: DigestError, which names both digests.
    """
    found = sha256(path)
    if found != declared.lower():
        raise DigestError(path, declared=declared.lower(), found=found, advice=advice)


def _state(path: Path) -> str:
    """What changes whenever the file does."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


@lru_cache(maxsize=1024)
def _remembered(path: Path, state: str) -> str:
    """From earlier runs, where the cache can be read: a checkpoint of gigabytes takes seconds each time."""
    with contextlib.suppress(sqlite3.Error, OSError), _memory() as memory:
        for (digest,) in memory.execute("SELECT sha256 FROM digests WHERE path = ? AND state = ?", (str(path), state)):
            return str(digest)
    digest = content_digest(path, like="0" * _SHA256_DIGITS)
    with contextlib.suppress(sqlite3.Error, OSError), _memory() as memory:
        memory.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (str(path), state, digest))
    return digest


@contextlib.contextmanager
def _memory() -> Iterator[sqlite3.Connection]:
    path = digests_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=5.0)
    try:
        with connection:
            connection.execute(_TABLE)
            yield connection
    finally:
        connection.close()
