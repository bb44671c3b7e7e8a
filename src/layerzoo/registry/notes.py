"""What the zoo found out and would find out again: kept in the index's file to save the time.

To read a note that is not there gives None; to keep one raises sqlite3.DatabaseError where the file cannot be written.
"""

from __future__ import annotations

import json
import os
from typing import Any

from layerzoo.registry.database import Database, from_json

_WAIT_S = 0.1
"""How long to wait for another process before a note is not taken: what nobody needs is not worth waiting for."""
_KEPT_SCANS = 64
_KEPT_FINDS = 16


class Notes:
    """The notes of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def loose_ends(self, key: str) -> list[dict[str, Any]] | None:
        """What was kept under this key."""
        for (found,) in self._database.rows("SELECT found FROM loose_ends WHERE key = ?", (key,)):
            return list(from_json(found))
        return None

    def keep_loose_ends(self, key: str, found: list[dict[str, Any]]) -> None:
        with self._database.transaction(_WAIT_S):
            self._database.write("INSERT OR REPLACE INTO loose_ends VALUES (?, ?)", (key, json.dumps(found)))
            newest = f"SELECT rowid FROM loose_ends ORDER BY rowid DESC LIMIT {_KEPT_FINDS}"
            self._database.write(f"DELETE FROM loose_ends WHERE rowid NOT IN ({newest})")

    def scan(self, paths: str, times: str) -> Any:
        """What was found in these folders when they last had these times of change; None when they have others."""
        for (found,) in self._database.rows("SELECT found FROM scans WHERE paths = ? AND times = ?", (paths, times)):
            return from_json(found)
        return None

    def keep_scan(self, paths: str, times: str, found: Any) -> None:
        with self._database.transaction(_WAIT_S):
            values = (paths, times, json.dumps(found))
            self._database.write("INSERT OR REPLACE INTO scans VALUES (?, ?, ?)", values)
            newest = f"SELECT rowid FROM scans ORDER BY rowid DESC LIMIT {_KEPT_SCANS}"
            self._database.write(f"DELETE FROM scans WHERE rowid NOT IN ({newest})")

    def outcome(self, module: str) -> dict[str, Any] | None:
        """How the import of a plugin's module went last, as it was kept; None when it was never tried."""
        for (outcome,) in self._database.rows("SELECT outcome FROM imports WHERE module = ?", (os.fsencode(module),)):
            return dict(from_json(outcome))
        return None

    def keep_outcome(self, module: str, outcome: dict[str, Any]) -> None:
        with self._database.transaction(_WAIT_S):
            values = (os.fsencode(module), json.dumps(outcome))
            self._database.write("INSERT OR REPLACE INTO imports VALUES (?, ?)", values)
