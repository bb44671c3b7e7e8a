"""Braces that were not quoted: a shell makes several words of ``block.{1..9}``, and one reaches the option."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_NUMBER = re.compile(r"\d+")
_FAMILIES = "stem|block|stage|branch|norm|pooled|embedding|head|neck|query|bottleneck"
_LAYER = re.compile(rf"({_FAMILIES})(\.(\d+|{_FAMILIES}))*|module:.+")
"""What layers are called in every architecture."""
_LONGEST_NAME = 200


def expanded_by_shell(option: str, values: Sequence[str], words: Sequence[str], known: Collection[str]) -> str | None:
    """Return a message that says what to write, where words of a command line are more values of an option; else None.

    Args:
        option: its name, as in ``--layer``.
        values: what it was given. Of ``LAYER=POOLING`` the layer counts.
        words: the other words of the command line, which have no meaning at their place.
        known: the names of the model's layers; empty where they are not known.
    """
    if not values:
        return None
    last = values[-1]
    more = [word for word in words if _is_layer(word, last, known)]
    if not more:
        return None
    few = ", ".join(more[:3]) + (", …" if len(more) > 3 else "")
    names = [last, *more]
    quoted = _as_range(names) if "=" not in last else None
    written = f"{option} '{quoted}'" if quoted else " ".join(f"{option} {name}" for name in names)
    return (
        f"{few}: {'layers' if len(more) > 1 else 'a layer'}, where none is expected. A shell makes several words of "
        f"braces that are not quoted. Next: {written}"
    )


def _is_layer(word: str, given: str, known: Collection[str]) -> bool:
    name, equals, pool = word.partition("=")
    if bool(equals) != ("=" in given) or pool != given.partition("=")[2]:
        return False
    is_alike = _NUMBER.sub("#", name) == _NUMBER.sub("#", given.partition("=")[0]) and bool(_NUMBER.search(name))
    return name in known or is_alike or _LAYER.fullmatch(name) is not None


def _as_range(names: Sequence[str]) -> str | None:
    """The selector that a shell made these names of, where one number counts up in them."""
    first = names[0]
    if len(first) > _LONGEST_NAME:
        return None
    for found in _NUMBER.finditer(first):
        head, tail = first[: found.start()], first[found.end() :]
        if list(names) == [f"{head}{int(found[0]) + step}{tail}" for step in range(len(names))]:
            return f"{head}{{{found[0]}..{int(found[0]) + len(names) - 1}}}{tail}"
    return None
