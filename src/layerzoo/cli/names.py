"""Names as people type them. Only the command line guesses; programs give full ids."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from layerzoo.errors import InputError, LayerzooError, UnidentifiedModelError, UnknownModelError
from layerzoo.registry.current import registry
from layerzoo.spec import ModelSpec


def find_model(name: str) -> ModelSpec:
    """The model that is meant, for what uses it: a repository of the hub that was never looked at is looked at now.

    Raises: as :func:`resolve_model_id`, and as :func:`layerzoo.load` for a repository that holds no model.
    """
    try:
        return registry().model(resolve_model_id(name))
    except UnidentifiedModelError as error:
        from layerzoo.runtime.identify import find_model

        return find_model(error.asked, registry())


def find_model_for(name: str, inputs: Sequence[str]) -> ModelSpec:
    """As :func:`find_model`. Of a repository whose network has several towers, the one that takes what the named files
    are, where the id does not say which is meant.
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


def resolve_model_id(name: str) -> str:
    """The full id of a model: an id, an alias, or the last part of an id or alias where only one model ends so.

    Raises: UnknownModelError, which names the candidates when there are several; see also Registry.model.
    """
    name = os.fsencode(name).decode("utf-8", "replace")  # in a locale without UTF-8 arguments are bytes in disguise
    zoo = registry()
    try:
        return zoo.model(name).id
    except UnknownModelError as error:
        if "/" in name or error.asked != name:  # it is an alias, of what is not there
            raise
        candidates = zoo.ids_ending(name)
        if not candidates:
            raise
    if len(candidates) > 1:
        message = f"'{name}' may be any of: {', '.join(candidates)}"
        raise UnknownModelError(message, asked=name, nearest=candidates)
    return candidates[0]


def known_layers(model: str | None) -> list[str]:
    """Return the names of a model's layers that are declared or traced; none for an unknown model."""
    from layerzoo.facts import traced_layers

    with contextlib.suppress(LayerzooError):
        if model is not None:
            spec = registry().model(resolve_model_id(model))
            return [layer.name for layer in traced_layers(spec) or spec.layers]
    return []
