"""A pooling that a plugin adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerzoo.errors import NotFoundError, PluginError, PoolingError
from layerzoo.pooling import is_of_plugin

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["PluginPooling"]


@dataclass(frozen=True, slots=True)
class PluginPooling:
    """A pooling of a plugin, as the hook ``layerzoo_pooling`` returns it.

    pool: computes (row, width) from values (row, position, channel), float32 on the device of the network, and a mask
        (row, position) of booleans on the CPU: True for positions of the sample, False for padding. At least one is
        True in each row of a sample.
    merge: computes (width,) from the vectors (row, width) of the consecutive parts of a long sample, such as windows of
        audio, and the share of the sample's positions in each part (row,), both float64. The result has to be the
        pooling over all positions at once. None: the pooling cannot be merged, and samples with several parts are
        refused.
    """

    pool: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    merge: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]] | None = None


def plugin_pooling(name: str) -> PluginPooling:
    """Return a pooling of a plugin. The plugin is imported.

    Args:
        name: ``NAMESPACE/NAME``.
    Raises: PoolingError if no plugin has it, PluginError if the plugin cannot be used.
    """
    from layerzoo.plugins.loader import hooks
    from layerzoo.registry import registry

    assert is_of_plugin(name)
    namespace, _, own = name.partition("/")
    try:
        manifest = registry().plugin(namespace)
    except NotFoundError as error:
        raise PoolingError(f"there is no pooling '{name}': {error}") from error
    pooling = hooks(manifest).pooling(own)
    if pooling is None:
        raise PoolingError(
            f"there is no pooling '{name}': the plugin '{namespace}' ({manifest.release}) has none of this name. "
            f"Next: check the name in the documentation of {manifest.distribution}"
        )
    if not isinstance(pooling, PluginPooling):
        raise PluginError(
            f"the hook layerzoo_pooling of the plugin '{namespace}' answers {type(pooling).__name__} for '{own}', and "
            "not a layerzoo.authoring.PluginPooling",
            plugin=namespace,
        )
    return pooling
