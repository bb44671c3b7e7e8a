"""Check the health of plugins: their declarations, their requirements, and whether they can be imported."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from layerzoo.plugins.probe import TIME_LIMIT_S, end_all, probe
from layerzoo.registry import Health, PluginManifest
from layerzoo.registry.installed.health import unmet_requirements

_PROBES_AT_ONCE = 2


def check_up(plugins: Sequence[PluginManifest], *, time_limit_s: float = TIME_LIMIT_S) -> list[Health]:
    """Check the health of plugins. Each is imported in a separate process, unless its declaration is not usable.

    Args:
        plugins: the plugins to check.
        time_limit_s: for the import of each.
    Returns: the health of each, in the same order.
    """
    with ThreadPoolExecutor(_PROBES_AT_ONCE) as pool:
        try:
            return list(pool.map(lambda plugin: _checked(plugin, time_limit_s), plugins))
        except BaseException:  # Ctrl-C does not reach the children, and the threads wait for them
            pool.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise


def _checked(plugin: PluginManifest, time_limit_s: float) -> Health:
    if not plugin.is_usable:
        return Health(plugin)
    return Health(plugin, probe(plugin, time_limit_s=time_limit_s), tuple(unmet_requirements(plugin.distribution)))
