"""Resolve model names of the command line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from layerzoo.errors import InputError, LayerzooError, UnidentifiedModelError, UnknownModelError
from layerzoo.registry.lookup import registry
from layerzoo.spec import ModelSpec


def find_model(name: str) -> ModelSpec:
    """Resolve a name to a model. A repository of the hub that is new to this machine is inspected.

    Raises: as :func:`named_model`, and as :func:`layerzoo.load` for a repository that holds no model.
    """
    try:
        return named_model(name)
    except UnidentifiedModelError:
        from layerzoo.runtime.identify import find_model

        return find_model(name, registry())


def find_model_for(name: str, inputs: Sequence[str]) -> ModelSpec:
    """As :func:`find_model`. Of a repository whose network has several towers, select the one for the kind of the named
    files, where the id does not name one.
    """
    spec = find_model(name)
    repository = registry().repository(spec.id)
    if repository is None or repository.modality is not None:
        return spec
    from layerzoo.media.kinds import kind_of_inputs

    with contextlib.suppress(InputError, UnknownModelError):
        if (kind := kind_of_inputs(inputs)) != spec.modality:
            return find_model(repository.called(kind))
    return spec


def named_model(name: str) -> ModelSpec:
    """Return the model for an argument of the command line: an id, an alias, or a short name.

    Raises: as Registry.model.
    """
    # Without a UTF-8 locale, arguments have surrogate escapes.
    return registry().model(os.fsencode(name).decode("utf-8", "replace"))


def known_layers(model: str | None) -> list[str]:
    """Return the names of a model's layers that are declared or traced; none for an unknown model."""
    from layerzoo.facts import traced_layers

    with contextlib.suppress(LayerzooError):
        if model is not None:
            spec = named_model(model)
            return [layer.name for layer in traced_layers(spec) or spec.layers]
    return []
