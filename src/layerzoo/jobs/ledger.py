"""Store the results of named jobs, one line each, as soon as they exist, so that a stopped run can be resumed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from layerzoo.errors import CacheError

Result = Mapping[str, Any]
"""The result of one job; JSON-serializable."""


class Ledger:
    """A JSON-lines file of results. Results of other versions stay in the file and are ignored.

    Several processes may add to the same file.

    Args:
        path: the file. It and its folder are created when the first result is added.
        versions: of everything that a result depends on.
    """

    def __init__(self, path: Path, versions: Mapping[str, str]) -> None:
        self._path = path
        self._versions = dict(versions)

    def results(self) -> dict[str, Result]:
        """Return the latest result of each job. An incomplete line, which a killed run left, is ignored.

        Raises: CacheError when the file is there and cannot be read.
        """
        return {
            entry["name"]: entry["result"]
            for entry in self._entries()
            if isinstance(entry, dict) and entry.get("versions") == self._versions
        }

    def add(self, name: str, result: Result) -> None:
        """Store one result. Raises: CacheError when it cannot be written."""
        line = f"\n{json.dumps({'name': name, 'versions': self._versions, 'result': result})}".encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # In one call, so that the lines of several processes do not mix; with the line break first, so that a line
            # that was cut off spoils no other.
            with self._path.open("ab", buffering=0) as file:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise CacheError(f"{self._path} cannot be written: {error.strerror}") from error

    def open_jobs(self, names: Iterable[str]) -> list[str]:
        """Return the jobs that have no result yet. Raises: as :meth:`results`."""
        known = self.results()
        return [name for name in names if name not in known]

    def _entries(self) -> Iterator[Any]:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise CacheError(f"{self._path} cannot be read: {error.strerror}") from error
        for line in lines:
            with contextlib.suppress(ValueError):
                yield json.loads(line)
