"""Call the poolings of plugins, and check their results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layerzoo.errors import LayerzooError, PluginError, PoolingError
from layerzoo.isolation import without_network
from layerzoo.plugins.pooling import plugin_pooling


def pool_by_plugin(name: str, values: Tensor, mask: Tensor) -> Tensor:
    """Pool the positions of each row.

    Args:
        name: of the pooling, ``NAMESPACE/NAME``.
        values: (row, position, channel) float32.
        mask: (row, position) booleans, True for the positions to pool. A row may have none: its result is not used.
    Returns: (row, width) float32.
    Raises: PluginError for a pooling that fails or returns something else.
    """
    pool = plugin_pooling(name).pool
    mask = mask.cpu()
    empty = ~mask.any(1)
    if bool(empty.any()):
        mask = mask.clone()
        mask[empty, 0] = True
    with _isolated(name):
        pooled = pool(values, mask)
        if not isinstance(pooled, Tensor) or pooled.ndim != 2 or len(pooled) != len(values):
            shape = tuple(pooled.shape) if isinstance(pooled, Tensor) else type(pooled).__name__
            raise TypeError(f"it returns {shape} for values {tuple(values.shape)}, and not a tensor (row, width)")
        return pooled.to(torch.float32, copy=True)


def merge_by_plugin(name: str, rows: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Merge the pooled parts of a sample.

    Args:
        name: of the pooling, ``NAMESPACE/NAME``.
        rows: (row, width), in their order.
        share: (row,) of the sample's positions, their sum is 1.
    Returns: (width,).
    Raises: PoolingError for a pooling that cannot be merged, PluginError for one that fails.
    """
    merge = plugin_pooling(name).merge
    if merge is None:
        raise PoolingError(
            f"the pooling '{name}' cannot be merged over the {len(rows)} parts of a long sample. Next: extract each "
            "part as a separate sample, or use another pooling"
        )
    with _isolated(name):
        merged = np.asarray(merge(rows, share), dtype=np.float64)
        if merged.shape != rows.shape[1:]:
            raise TypeError(f"it merges {rows.shape} to {merged.shape}, and not to {rows.shape[1:]}")
        return merged


@contextmanager
def _isolated(name: str) -> Iterator[None]:
    """Run code of a plugin without a network, and raise its errors as PluginError."""
    try:
        with without_network(f"the pooling {name}"):
            yield
    except LayerzooError:
        raise
    except Exception as error:
        raise PluginError(
            f"the pooling '{name}' failed: {type(error).__name__}: {error}. Next: use another pooling, or report this "
            "to the author of the plugin",
            plugin=name.partition("/")[0],
        ) from error
