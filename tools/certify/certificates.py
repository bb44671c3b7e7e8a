"""The results of all networks of a library, stored in docs/certified/LIBRARY.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Row = Mapping[str, Any]
"""One network: its ``name``, the library's facts about it, and the result of running it.

params: the number of parameters.
names, layers: its layer names in short form, and their number.
untraced, failed, unusable: why there is no result.
cuts: by layer that was loaded alone, the share of the checkpoint that was read.
differing: by layer, how the cut differs from the whole network.
flaws: by layer, why equality proves nothing there.
"""

Status = Literal["exact", "large", "not exact", "failed", "no names", "not traced", "not run", "unusable"]


@dataclass(frozen=True, slots=True)
class Certificates:
    """The rows of a library, sorted by name, with the versions they depend on."""

    versions: Mapping[str, str]
    max_params: int
    """Larger networks are traced but not run."""
    rows: tuple[Row, ...]

    @classmethod
    def of(cls, versions: Mapping[str, str], max_params: int, rows: Iterable[Row]) -> Certificates:
        return cls(versions, max_params, tuple(sorted(rows, key=lambda row: str(row["name"]))))

    @classmethod
    def read(cls, path: Path) -> Certificates:
        """Read a file of :meth:`write`."""
        head, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return cls.of(head["versions"], head["max_params"], rows)

    def write(self, path: Path) -> None:
        """Write JSON lines: the versions, then one line per network."""
        head = {"versions": dict(self.versions), "max_params": self.max_params}
        lines = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in (head, *self.rows))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def status(self, row: Row) -> Status:
        """Return the status of a network."""
        if "unusable" in row:
            return "unusable"
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
        """Return the reason for every status except `exact`."""
        match self.status(row):
            case ("failed" | "unusable") as key:
                return str(row[key])
            case "not traced":
                return f"not traced: {row['untraced']}"
            case "large":
                return f"> {millions(self.max_params)}: traced only"
            case "not exact":
                reasons = ["the whole network is not repeatable"] if "unrepeatable" in row else []
                return "; ".join([*reasons, *layer_reasons(row)])
            case status:
                return status


def layer_reasons(row: Row) -> list[str]:
    """Return why the layers of a row are not exact, one text per layer."""
    return [f"{name}: {reason}" for key in ("differing", "flaws") for name, reason in row.get(key, {}).items()]


def millions(count: int) -> str:
    """Format a number in millions, as in ``25.6 M``."""
    return f"{count / 1e6:.3g} M"
