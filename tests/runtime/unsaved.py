"""The tensors of a network that no checkpoint holds, and their differences between two ways of building it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from layerzoo.runtime.initialisation import construct_for_checkpoint, seeded


def differing(make: Callable[[], nn.Module]) -> tuple[list[str], int]:
    """Return the names of the unsaved tensors that differ from those of a build with initialisation, and their
    number. make: builds a network."""
    with seeded(0):
        expected = dict(unsaved_tensors(make()))
    _leave_garbage_behind()
    found = dict(unsaved_tensors(construct_for_checkpoint(make, model="a network")))
    names = expected.keys() | found.keys()
    return sorted(name for name in names if not _are_equal(expected.get(name), found.get(name))), len(names)


def unsaved_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Return every buffer and tensor attribute, also in nested lists and dictionaries, that shares no memory with the
    state dict."""
    saved = {
        value.untyped_storage()._cdata
        for value in network.state_dict(keep_vars=True).values()
        if isinstance(value, Tensor)
    }
    for path, module in network.named_modules():
        for name, value in {**vars(module), **module._buffers, **module._parameters}.items():
            if name in ("_buffers", "_parameters", "_modules"):
                continue
            for index, leaf in enumerate(tree_leaves(value)):
                if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in saved:
                    yield f"{path}.{name}.{index}", leaf.detach()


def _are_equal(one: Tensor | None, other: Tensor | None) -> bool:
    return (
        one is not None
        and other is not None
        and one.shape == other.shape
        and torch.equal(one.nan_to_num(), other.nan_to_num())
    )


def _leave_garbage_behind() -> None:
    """Free memory of small sizes, so that undefined values are not zero by chance."""
    garbage = [torch.full((size,), 7e20) for size in (8, 32, 64, 256, 1024, 4096) for _ in range(50)]
    del garbage
