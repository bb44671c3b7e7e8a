"""Read the samples of torch's datasets and loaders without importing torch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import SampleError


def is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def to_numpy(tensor: Any) -> NDArray[Any]:
    """Return the values of a tensor on any device; of a type without a counterpart in numpy (bfloat16), as float32."""
    cpu_tensor = tensor.detach().cpu()
    is_known = hasattr(np, str(cpu_tensor.dtype).removeprefix("torch."))
    array: NDArray[Any] = (cpu_tensor if is_known or not cpu_tensor.is_floating_point() else cpu_tensor.float()).numpy()
    return array


def is_dataset(value: object) -> bool:
    data = sys.modules.get("torch.utils.data")
    return data is not None and isinstance(value, data.Dataset)


def is_loader(value: object) -> bool:
    data = sys.modules.get("torch.utils.data")
    return data is not None and isinstance(value, data.DataLoader)


def items(dataset: Any) -> Iterator[Any]:
    """Yield the items of a Dataset in order; a SampleError in place of one that the dataset fails to give."""
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        yield from dataset
        return
    for index in range(len(dataset)):
        try:
            item = dataset[index]
        except Exception as error:  # noqa: BLE001 - whatever its code raises is the failure of this item
            failure = SampleError(str(index), f"the dataset raised {type(error).__name__}: {error}")
            failure.__cause__ = error
            item = failure
        yield item


def items_of_batches(loader: Any) -> Iterator[Any]:
    """Yield the items of a DataLoader's batches, in order.

    A batch is a tensor, an array or a list of samples; or a tuple whose first element is that. The result of torch's
    ``default_collate`` for pairs is a list too: there the first element holds the samples, unless it is one.
    """
    if loader.batch_size is None and loader.batch_sampler is None:
        yield from loader
        return
    from_default = loader.collate_fn is sys.modules["torch.utils.data"].default_collate
    for batch in loader:
        yield from _samples_of(batch, from_default)


def _samples_of(batch: Any, from_default: bool) -> Iterable[Any]:
    is_pair = isinstance(batch, tuple) or (
        from_default and isinstance(batch, list) and batch and not isinstance(batch[0], str | bytes)
    )
    first = batch[0] if is_pair else batch
    return first if isinstance(first, list | tuple | np.ndarray) or is_tensor(first) else [batch]
