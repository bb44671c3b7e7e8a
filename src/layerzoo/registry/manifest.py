"""A plugin as it is known without running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "incomplete", "invalid", "unsupported", "no registry file", "not found", "conflict"]
"""``incomplete``: some models are invalid, the others work. ``not found``: the entry point names no module.
``conflict``: the namespace is claimed twice, or is not the plugin's to claim."""

USABLE: tuple[State, ...] = ("ok", "incomplete")


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginManifest:
    """What a plugin declares, and whether that can be used."""

    namespace: str
    distribution: str
    version: str | None = None
    module: str
    """The top-level module whose hooks are called."""
    path: str | None = None
    """Its registry.yaml."""
    state: State = "ok"
    cause: str | None = None
    """Why the state is not ``ok``."""
    models: int = 0
    """How many models it declares that can be used."""
    builders: tuple[str, ...] = ()

    @property
    def is_usable(self) -> bool:
        return self.state in USABLE
