"""Store features of samples, and the measurements of sweeps, between runs, in one SQLite database.

Several processes may use it at once. A damaged entry counts as missing, and a damaged database is replaced by an empty
one. When the database exceeds its limit, the entries that were not used for the longest time are removed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import UsageError
from layerzoo.paths import feature_cache_path

LIMIT_VARIABLE = "LAYERZOO_FEATURE_CACHE_BYTES"
_LIMIT_BYTES = 10_000_000_000
_KEPT_SHARE = 0.9
"""Of the limit, after entries were removed: not every run has to remove some."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, used REAL, model TEXT, layer TEXT, value BLOB)",
    "CREATE INDEX IF NOT EXISTS by_use ON features (used)",
)
_AT_ONCE = 500
"""Keys in one query."""
_PENDING = 64
"""Entries that are written together."""


class CachedVector(NamedTuple):
    """The features of one sample at one layer.

    Attributes:
        values: (channel,) float32.
        report: counts of the sample, as in ``Features.report``.
    """

    values: NDArray[np.float32]
    report: Mapping[str, int]


class FeatureCache:
    """A database of feature vectors by key. Threads may share it.

    Args:
        path: of the database. None: in memory, for this process only.
        limit_bytes: the size of the database. None: the environment variable LAYERZOO_FEATURE_CACHE_BYTES, else 10 GB.
    """

    def __init__(self, path: Path | None, limit_bytes: int | None = None) -> None:
        self._path = path
        self._limit = _limit_from_environment() if limit_bytes is None else limit_bytes
        self._lock = threading.Lock()
        self._pending: dict[bytes, tuple[str, str, bytes]] = {}
        self._used: set[bytes] = set()
        self._connection = self._opened()
        self.hits = self.misses = 0

    @classmethod
    def on_disk(cls) -> Self:
        """Open the database in the cache folder."""
        return cls(feature_cache_path())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Save the entries, and close the database."""
        self.save()
        with self._lock:
            self._connection.close()

    def save(self) -> None:
        """Write pending entries, and remove old ones above the limit."""
        self.flush()
        with self._lock, self._guarded() as connection:
            connection.executemany(
                "UPDATE features SET used = ? WHERE key = ?", [(time.time(), key) for key in self._used]
            )
            self._used.clear()
            connection.commit()
            self._shrink(connection)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, CachedVector]:
        """Return the features of some keys. Damaged ones count as missing."""
        vectors = {key: _vector(entry) for key, entry in self.entries(keys).items()}
        with self._lock:
            self.hits += len(vectors)
            self.misses += len(keys) - len(vectors)
        return vectors

    def put(self, key: bytes, vector: CachedVector, *, model: str, layer: str) -> None:
        """Keep the features of a sample: see :meth:`put_entry`."""
        report = json.dumps(dict(vector.report)).encode()
        values = np.ascontiguousarray(vector.values, np.float32).tobytes()
        self.put_entry(key, len(report).to_bytes(4, "little") + report + values, model=model, layer=layer)

    def entries(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the entries of some keys. Damaged ones count as missing."""
        entries: dict[bytes, bytes] = {}
        with self._lock, self._guarded() as connection:
            for start in range(0, len(keys), _AT_ONCE):
                part = list(keys[start : start + _AT_ONCE])
                marks = ",".join("?" * len(part))
                for key, value in connection.execute(f"SELECT key, value FROM features WHERE key IN ({marks})", part):
                    if (entry := _without_checksum(value)) is not None:
                        entries[key] = entry
        with self._lock:
            self._used.update(entries)
        return entries

    def put_entry(self, key: bytes, entry: bytes, *, model: str, layer: str) -> None:
        """Keep an entry. It is written with others, at the latest by :meth:`close`.

        Args:
            key: of the entry.
            entry: any bytes.
            model: the id of the model, for people.
            layer: the name of the layer, for people.
        """
        with self._lock:
            self._pending[key] = (model, layer, zlib.crc32(entry).to_bytes(4, "little") + entry)
        if len(self._pending) >= _PENDING:
            self.flush()

    def flush(self) -> None:
        """Write pending entries."""
        with self._lock, self._guarded() as connection:
            now = time.time()
            rows = [(key, now, *entry) for key, entry in self._pending.items()]
            self._pending.clear()
            with connection:
                connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?)", rows)

    def _opened(self) -> sqlite3.Connection:
        """Open the database; replace a damaged one. Without a usable folder, entries are kept in memory."""
        if self._path is not None:
            for _ in range(2):
                with contextlib.suppress(OSError):
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    return _connected(str(self._path))
                except sqlite3.OperationalError as error:  # locked, or no access
                    logging.getLogger("layerzoo").warning("%s cannot be used: %s", self._path, error)
                    break
                except sqlite3.DatabaseError:
                    logging.getLogger("layerzoo").warning("%s is damaged, and is begun again", self._path)
                    self._path.unlink(missing_ok=True)
        return _connected(":memory:")

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection. After an error of the database, features are computed again."""
        try:
            yield self._connection
        except sqlite3.Error as error:
            logging.getLogger("layerzoo").warning("cached features cannot be used: %s", error)
            if type(error) is sqlite3.DatabaseError and self._path is not None:  # damaged
                self._connection.close()
                self._path.unlink(missing_ok=True)
                self._connection = self._opened()

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Remove the entries that were not used for the longest time, until the database is below its limit."""
        size = _used_bytes(connection)
        if size <= self._limit:
            return
        for key, length in connection.execute("SELECT key, length(value) FROM features ORDER BY used").fetchall():
            connection.execute("DELETE FROM features WHERE key = ?", (key,))
            size -= length
            if size <= _KEPT_SHARE * self._limit:
                break
        connection.commit()
        connection.execute("VACUUM")


def _connected(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(name, timeout=30.0, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = OFF")  # a database that a power cut damaged is created again
        with connection:
            for statement in _TABLE:
                connection.execute(statement)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _used_bytes(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def _limit_from_environment() -> int:
    """Raises: UsageError for a value that is no number of bytes."""
    text = os.environ.get(LIMIT_VARIABLE)
    if not text:
        return _LIMIT_BYTES
    if not text.isdecimal():
        raise UsageError(f"{LIMIT_VARIABLE}={text} is not a number of bytes")
    return int(text)


def _without_checksum(value: bytes) -> bytes | None:
    """Return None for a value that does not match its checksum."""
    if not isinstance(value, bytes) or zlib.crc32(value[4:]).to_bytes(4, "little") != value[:4]:
        return None
    return value[4:]


def _vector(entry: bytes) -> CachedVector:
    """Read the length of the report, the report and the values."""
    length = int.from_bytes(entry[:4], "little")
    return CachedVector(np.frombuffer(entry[4 + length :], np.float32).copy(), json.loads(entry[4 : 4 + length]))
