"""The arguments that a declaration or a repository may pass to ``timm.create_model``: those of the network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import timm

from layerzoo.authoring import nearest, nearest_hint
from layerzoo.errors import OutsideRepositoryError, RepositoryError
from layerzoo_timm.factory import LOADING_ARGUMENTS, WRAPPING_ARGUMENTS

_PATH = re.compile(r"[/\\:]")
"""Characters that no name of an architecture has. timm takes such a name for a repository or a folder."""
_LONGEST = 200


def check_arguments(model: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that make timm read weights from another source than layerzoo.

    Args:
        model: the id, for messages.
        arguments: as a declaration's `args` have them, with the architecture as ``name``.
    Raises: OutsideRepositoryError, which names the argument and its value; RepositoryError for no name at all.
    """
    for name in sorted((LOADING_ARGUMENTS | WRAPPING_ARGUMENTS) & arguments.keys()):
        if arguments[name] not in (None, False):
            raise _outside(model, name, arguments[name])
    architecture = arguments.get("name")
    if not isinstance(architecture, str):
        raise RepositoryError(f"{model}: its `args` have no `name` of an architecture of timm: {architecture!r}")
    if _PATH.search(architecture):
        raise _outside(model, "name", architecture)


def check_architecture(model: str, name: str, statement: str) -> None:
    """Raises: RepositoryError for an architecture that timm does not have, with the nearest that it has."""
    if timm.is_model(name.split(".")[0]):
        return
    close = nearest(name[:_LONGEST], timm.list_models())
    raise RepositoryError(
        f"{model}: {statement} the architecture '{name[:_LONGEST]}', which timm {timm.__version__} does not have. "
        f"{nearest_hint(close)}Next: pip install -U timm, where a newer one does"
    )


def _outside(model: str, name: str, value: Any) -> OutsideRepositoryError:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return OutsideRepositoryError(
        f"{model}: its argument `{name}` is {text[:_LONGEST]}, and may name neither a file nor another repository: "
        "weights are what `weights` declares, whose digest is known. Next: declare them with `weights: file:PATH`, or "
        "give them as weights=PATH",
        reference=text[:_LONGEST],
    )
