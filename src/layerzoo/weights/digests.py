"""Compute the digests of files, once for each state of a file, and compare them with declared ones."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from layerzoo.disk import fingerprint
from layerzoo.errors import DigestError
from layerzoo.paths import digests_path

SHA256_DIGITS = 64
"""The number of hexadecimal digits of a sha256."""
_SHA1_DIGITS = 40
_READ_BYTES = 1 << 20
_TABLE = "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, state TEXT, sha256 TEXT)"


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex. It is stored until the file changes. Raises: OSError."""
    return _remembered(path, fingerprint(path.stat()))


def files_of(digest: str) -> list[Path]:
    """Return the files with this sha256 that have not changed since it was computed."""
    with contextlib.suppress(sqlite3.Error, OSError), _memory() as memory:
        rows = memory.execute("SELECT path, state FROM digests WHERE sha256 = ?", (digest,)).fetchall()
        return [Path(path) for path, state in rows if Path(path).is_file() and fingerprint(Path(path).stat()) == state]
    return []


def content_digest(path: Path, *, like: str) -> str:
    """Compute the digest of a file: git's sha1 of a blob if ``like`` has its length, otherwise a sha256.

    Source of the latter: Chacon and Straub, "Pro Git", section "Git Objects".
    Raises: OSError.
    """
    with path.open("rb") as file:
        if len(like) != _SHA1_DIGITS:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
        return digest.hexdigest()


def agrees(digest: str, stated: str) -> bool:
    """Return whether a digest is the stated one, or begins with the digits that are stated of it."""
    return digest.startswith(stated.lower())


def check_sha256(path: Path, declared: str, *, advice: str) -> None:
    """Refuse a file that is not the declared one.

    Args:
        path: the file.
        declared: its declared sha256, in hex.
        advice: the next step, the end of the error message.
    Raises: DigestError, which names both digests.
    """
    digest = sha256(path)
    if digest != declared.lower():
        raise DigestError(path, declared=declared.lower(), found=digest, advice=advice)


@lru_cache(maxsize=1024)
def _remembered(path: Path, state: str) -> str:
    """Return the stored or computed sha256 of a file. A checkpoint of gigabytes takes seconds to read."""
    with contextlib.suppress(sqlite3.Error, OSError), _memory() as memory:
        for (digest,) in memory.execute("SELECT sha256 FROM digests WHERE path = ? AND state = ?", (str(path), state)):
            return str(digest)
    digest = content_digest(path, like="0" * SHA256_DIGITS)
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
