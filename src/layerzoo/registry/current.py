"""The zoo of this process: one Registry, made again when something was installed or edited."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from layerzoo.paths import cache_dir
from layerzoo.registry.filters import Filters
from layerzoo.registry.lookup import Registry

if TYPE_CHECKING:
    from layerzoo.spec import ModelSpec

_lock = threading.RLock()
_current: tuple[Path, Registry] | None = None


def registry() -> Registry:
    """The zoo as it is now. Who holds an older one may go on asking it."""
    global _current
    place = cache_dir()
    with _lock:
        if _current is None or _current[0] != place or not _current[1].is_current():
            _current = (place, Registry())
        return _current[1]


def model(id: str) -> ModelSpec:
    """The declaration of a model, by its full id or an alias. Imports no model library and downloads nothing.

    Raises: UnknownModelError with the nearest names, or with the ``pip install`` that brings the model;
    RegistryError when the model is declared and not valid; PluginError when its plugin's file cannot be used.
    """
    return registry().model(id)


def models(*, sort: str | None = None, limit: int | None = None, **filters: Unpack[Filters]) -> list[ModelSpec]:
    """The installed models that are all of what is asked for: see :meth:`Registry.models`."""
    return registry().models(sort=sort, limit=limit, **filters)


if hasattr(os, "register_at_fork"):  # to a child process, a lock that another thread held would be held for ever
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
