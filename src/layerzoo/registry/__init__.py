"""Look up models and plugins in the registry files of layerzoo, its plugins and the user.

Three packages: ``format`` defines what a file may contain, ``installed`` finds the plugins and files, and ``index``
stores what they declare and answers queries. No plugin's code runs. A warm index needs neither pydantic nor yaml.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerzoo.registry.format.diagnostics import Diagnostic
    from layerzoo.registry.index.query import SORTS, Filters
    from layerzoo.registry.index.search import Entry
    from layerzoo.registry.installed.environment import Environment
    from layerzoo.registry.installed.health import Health, ImportOutcome, PluginManifest
    from layerzoo.registry.installed.plugin import Installed
    from layerzoo.registry.lookup import Registry, model, models, registry

__all__ = [
    "SORTS",
    "Diagnostic",
    "Entry",
    "Environment",
    "Filters",
    "Health",
    "ImportOutcome",
    "Installed",
    "PluginManifest",
    "Registry",
    "model",
    "models",
    "registry",
]

_HOMES = {
    "SORTS": "index.query",
    "Diagnostic": "format.diagnostics",
    "Entry": "index.search",
    "Environment": "installed.environment",
    "Filters": "index.query",
    "Health": "installed.health",
    "ImportOutcome": "installed.health",
    "Installed": "installed.plugin",
    "PluginManifest": "installed.health",
    "Registry": "lookup",
    "model": "lookup",
    "models": "lookup",
    "registry": "lookup",
}


if not TYPE_CHECKING:  # importing every module of the registry takes longer than an answer

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'layerzoo.registry' has no attribute {name!r}")
        value = getattr(import_module(f"layerzoo.registry.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
