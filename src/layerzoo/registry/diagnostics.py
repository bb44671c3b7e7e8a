"""What is wrong with a registry file, where, and what was probably meant. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Code = Literal[
    "unreadable", "syntax", "unsupported", "unknown-key", "missing-key", "wrong-value", "duplicate", "reference"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One problem of one file. ``str()`` is the line a person reads: ``file:line:column: what is wrong``."""

    path: str
    line: int = 1
    column: int = 1
    code: Code
    message: str
    model: str | None = None
    """The id of the model that cannot be used because of it; None when it concerns the file."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.message}"
