"""Run a module of the caller in eval mode, and restore the mode of each of its submodules afterwards."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, and restore the mode of each submodule at the end.

    Several threads may run one network: the modes are restored when the last of them ends.
    """
    with _LOCK:
        uses = _USES.setdefault(network, _Uses())
        if uses.count == 0:
            uses.training = [module for module in network.modules() if module.training]
            for module in uses.training:
                module.training = False
        uses.count += 1
    try:
        yield
    finally:
        with _LOCK:
            uses.count -= 1
            if uses.count == 0:
                for module in uses.training:
                    module.training = True
                uses.training = []


class _Uses:
    """The number of passes through a network at present, and the modules that were in training mode before."""

    def __init__(self) -> None:
        self.count = 0
        self.training: list[nn.Module] = []


_LOCK = threading.Lock()
_USES: weakref.WeakKeyDictionary[nn.Module, _Uses] = weakref.WeakKeyDictionary()
