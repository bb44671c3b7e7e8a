"""The zoo of this process: one Registry, made again when something was installed or edited."""

from __future__ import annotations

import os
import threading

from layerzoo.disk import cache_dir
from layerzoo.registry.lookup import Registry
from layerzoo.spec import Modality, ModelSpec

_lock = threading.Lock()
_current: tuple[object, Registry] | None = None


def registry() -> Registry:
    """The zoo as it is now. What a caller holds stays as it is when a newer one is made."""
    global _current
    # A connection to SQLite must not be carried over a fork.
    place = (os.getpid(), cache_dir())
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


def models(
    *,
    modality: Modality | None = None,
    plugin: str | None = None,
    license: str | None = None,
    max_params: int | None = None,
    text: str | None = None,
) -> list[ModelSpec]:
    """The models that are all of what is asked for: see :meth:`Registry.models`."""
    return registry().models(modality=modality, plugin=plugin, license=license, max_params=max_params, text=text)
