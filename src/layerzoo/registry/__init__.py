"""From registry.yaml to answers. Runs no plugin's code; on a warm index it imports neither pydantic nor yaml."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerzoo.registry.current import model, models, registry
    from layerzoo.registry.diagnostics import Diagnostic
    from layerzoo.registry.discovery import Surroundings
    from layerzoo.registry.entry import Entry
    from layerzoo.registry.filters import SORTS, Filters
    from layerzoo.registry.health import Health
    from layerzoo.registry.installed import Installed
    from layerzoo.registry.lookup import Registry
    from layerzoo.registry.manifest import PluginManifest
    from layerzoo.registry.outcome import ImportOutcome

__all__ = [
    "SORTS",
    "Diagnostic",
    "Entry",
    "Filters",
    "Health",
    "ImportOutcome",
    "Installed",
    "PluginManifest",
    "Registry",
    "Surroundings",
    "model",
    "models",
    "registry",
]

_HOMES = {
    "SORTS": "filters",
    "Diagnostic": "diagnostics",
    "Entry": "entry",
    "Filters": "filters",
    "Health": "health",
    "ImportOutcome": "outcome",
    "Installed": "installed",
    "PluginManifest": "manifest",
    "Registry": "lookup",
    "Surroundings": "discovery",
    "model": "current",
    "models": "current",
    "registry": "current",
}


if not TYPE_CHECKING:  # importing every module of the registry takes longer than an answer

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'layerzoo.registry' has no attribute {name!r}")
        value = getattr(import_module(f"layerzoo.registry.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
