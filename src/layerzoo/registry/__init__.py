"""From registry.yaml to answers. Runs no plugin's code; on a warm index it imports neither pydantic nor yaml."""

from layerzoo.registry.current import model, models, registry
from layerzoo.registry.diagnostics import Diagnostic
from layerzoo.registry.discovery import Installed, Surroundings
from layerzoo.registry.lookup import Registry
from layerzoo.registry.manifest import PluginManifest

__all__ = ["Diagnostic", "Installed", "PluginManifest", "Registry", "Surroundings", "model", "models", "registry"]
