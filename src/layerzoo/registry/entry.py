"""A model in one line, installed or not: what lists and searches show."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a list. The names are those of the filters, of ``zoo list --columns`` and of its JSON."""

    id: str
    modality: str
    params: int | None
    """Number of parameters of the whole network."""
    width: int | None
    """How many values a sample has at the model's default layer and pooling."""
    size_px: tuple[int, int] | None
    """Height and width of the pictures or frames that the network receives."""
    rate_hz: int | None
    """Samples of sound a second."""
    builder: str | None
    license: str | None
    summary: str
    plugin: str | None
    """The distribution that brings it; None for a user's own."""
    installed: bool
    install: str | None
    """The command that brings it, where it is not installed."""

    def to_dict(self) -> dict[str, Any]:
        """Every field by name; None where nothing is known."""
        plain = {name: getattr(self, name) for name in FIELDS}
        return {**plain, "size_px": None if self.size_px is None else list(self.size_px)}


FIELDS: tuple[str, ...] = tuple(each.name for each in fields(Entry))
