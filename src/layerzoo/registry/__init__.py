"""From registry.yaml to answers. Runs no plugin's code; on a warm index it imports neither pydantic nor yaml."""

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
