"""Names as people type them. Only the command line guesses; programs give full ids."""

from __future__ import annotations

import os

from layerzoo.errors import UnknownModelError
from layerzoo.registry import registry


def resolve_model_id(name: str) -> str:
    """The full id of a model: an id, an alias, or the last part of an id where only one model ends so.

    Raises: UnknownModelError, which names the candidates when there are several; see also Registry.model.
    """
    name = os.fsencode(name).decode("utf-8", "replace")  # in a locale without UTF-8 arguments are bytes in disguise
    zoo = registry()
    try:
        return zoo.model(name).id
    except UnknownModelError:
        if "/" in name:
            raise
        candidates = [model for model in zoo.ids() if model.endswith(f"/{name}")]
        if not candidates:
            raise
    if len(candidates) > 1:
        message = f"'{name}' may be any of: {', '.join(candidates)}"
        raise UnknownModelError(message, asked=name, nearest=candidates)
    return candidates[0]
