"""Many names of layers in few words."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def folded(names: Iterable[str]) -> str:
    """``stem · stage.{0..3} · stage.*.block.* · head``: names that differ in one number as a range of it, in several
    numbers as stars, in the order in which their first words come up."""
    groups: dict[str, list[list[str]]] = {}
    for name in names:
        groups.setdefault(_NUMBER.sub("*", name), []).append(_NUMBER.findall(name))
    words = list(dict.fromkeys(pattern.partition(".")[0] for pattern in groups))
    in_order = sorted(groups, key=lambda pattern: (words.index(pattern.partition(".")[0]), pattern.count("*")))
    return " · ".join(_written(pattern, groups[pattern]) for pattern in in_order)


def _written(pattern: str, numbers: list[list[str]]) -> str:
    if pattern.count("*") != 1:
        return pattern
    found = sorted({int(number) for (number,) in numbers})
    if len(found) == 1:
        return pattern.replace("*", str(found[0]))
    is_range = found == list(range(found[0], found[-1] + 1))
    listed = f"{found[0]}..{found[-1]}" if is_range else ",".join(map(str, found))
    return pattern.replace("*", f"{{{listed}}}")
