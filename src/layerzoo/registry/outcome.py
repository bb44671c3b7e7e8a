"""How the import of a plugin went."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

ImportState = Literal["ok", "failed", "crashed", "hung"]
"""``failed``: it raised, or a hook did. ``crashed``: the interpreter ended. ``hung``: it took longer than it might."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOutcome:
    """How the import of a plugin went, in this process or in one of its own, or the call of a hook after it."""

    state: ImportState
    cause: str | None = None
    """Why it is not ``ok``: one line."""
    fix: str | None = None
    """What to do about it."""
    seconds: float
    """How long it took."""
    at: str
    """When: ISO 8601, UTC."""

    @classmethod
    def failure(cls, state: ImportState, cause: str, fix: str, seconds: float) -> ImportOutcome:
        """An import that went wrong just now."""
        return cls(state=state, cause=cause, fix=fix, seconds=round(seconds, 3), at=_now())

    @classmethod
    def success(cls, seconds: float) -> ImportOutcome:
        """An import that went well just now."""
        return cls(state="ok", seconds=round(seconds, 3), at=_now())

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
