"""Check the health of plugins: their declarations, their requirements, and whether they can be imported."""

from __future__ import annotations

from collections.abc import Sequence

from layerzoo.plugins.probe import TIME_LIMIT_S, for_each, probe
from layerzoo.registry import Health, PluginManifest
from layerzoo.registry.installed.health import unmet_requirements


def check_up(plugins: Sequence[PluginManifest], *, time_limit_s: float = TIME_LIMIT_S) -> list[Health]:
    """Check the health of plugins. Each is imported in a separate process, unless its declaration is not usable.

    Args:
        plugins: the plugins to check.
        time_limit_s: for the import of each.
    Returns: the health of each, in the same order.
    """
    return for_each(plugins, lambda plugin: _checked(plugin, time_limit_s))


def _checked(plugin: PluginManifest, time_limit_s: float) -> Health:
    if not plugin.is_usable:
        return Health(plugin)
    return Health(plugin, probe(plugin, time_limit_s=time_limit_s), tuple(unmet_requirements(plugin.distribution)))
