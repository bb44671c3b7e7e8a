"""What was found out about every network of a library, as a file that is kept: docs/certified/LIBRARY.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Row = Mapping[str, Any]
"""One network: ``name``, what the library says of it without running it, and the result of running it.

params; names, layers: its layers, folded and counted. untraced, failed: why there is nothing more. cuts: of those that
were cut alone, the share of the checkpoint that was read. differing, flaws: by layer, where it is not exact or where
that proves nothing.
"""

Status = Literal["exact", "large", "not exact", "failed", "no names", "not traced", "not run"]


@dataclass(frozen=True, slots=True)
class Findings:
    """The rows of a library, by name, with the versions that they were found with."""

    versions: Mapping[str, str]
    max_params: int
    """Larger networks are traced, and not run."""
    rows: tuple[Row, ...]

    @classmethod
    def of(cls, versions: Mapping[str, str], max_params: int, rows: Iterable[Row]) -> Findings:
        return cls(versions, max_params, tuple(sorted(rows, key=lambda row: str(row["name"]))))

    @classmethod
    def read(cls, path: Path) -> Findings:
        """The inverse of :meth:`write`."""
        head, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return cls.of(head["versions"], head["max_params"], rows)

    def write(self, path: Path) -> None:
        """JSON lines: the versions, then each network."""
        head = {"versions": dict(self.versions), "max_params": self.max_params}
        lines = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in (head, *self.rows))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def status(self, row: Row) -> Status:
        """How far a network came."""
        if "failed" in row:
            return "failed"
        if "untraced" in row:
            return "not traced"
        if "layers" not in row:
            return "not run"
        if not row["layers"]:
            return "no names"
        if row["params"] > self.max_params:
            return "large"
        return "not exact" if "differing" in row or "flaws" in row else "exact"

    def why_not_exact(self, row: Row) -> str:
        """The reason for every status but `exact`, in words."""
        match self.status(row):
            case "failed":
                return str(row["failed"])
            case "not traced":
                return f"not traced: {row['untraced']}"
            case "large":
                return f"> {millions(self.max_params)}: traced only"
            case "not exact":
                told = [f"{name} {how}" for kind in ("differing", "flaws") for name, how in row.get(kind, {}).items()]
                return "; ".join((["the whole network differs from itself"] if "unrepeatable" in row else []) + told)
            case status:
                return status


def millions(count: int) -> str:
    """25.6 M"""
    return f"{count / 1e6:.3g} M"
