"""Look up models and plugins in the registry files of layerzoo, its plugins and the user.

Three packages: ``format`` defines what a file may contain, ``installed`` finds the plugins and files, and ``index``
stores what they declare and answers queries. No plugin's code runs. A warm index needs neither pydantic nor yaml.
"""

from layerzoo.registry.format.diagnostics import Diagnostic
from layerzoo.registry.index.query import SORTS, Filters
from layerzoo.registry.index.search import Entry
from layerzoo.registry.installed.environment import Environment
from layerzoo.registry.installed.health import Health, ImportOutcome
from layerzoo.registry.installed.plugin import Installed, PluginManifest
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
