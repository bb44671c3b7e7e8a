"""Layer names in short form."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def folded(names: Iterable[str]) -> str:
    """Return layer names in short form, as in ``stem · stage.{0..3} · stage.*.block.* · head``.

    Names that differ in one number become a range, and in several numbers a pattern with stars. The order is that of
    the first words of the names.
    """
    groups: dict[str, list[list[str]]] = {}
    for name in names:
        groups.setdefault(_NUMBER.sub("*", name), []).append(_NUMBER.findall(name))
    words = list(dict.fromkeys(pattern.partition(".")[0] for pattern in groups))
    in_order = sorted(groups, key=lambda pattern: (words.index(pattern.partition(".")[0]), pattern.count("*")))
    return " · ".join(_formatted(pattern, groups[pattern]) for pattern in in_order)


def _formatted(pattern: str, numbers: list[list[str]]) -> str:
    if pattern.count("*") != 1:
        return pattern
    values = sorted({int(number) for (number,) in numbers})
    if len(values) == 1:
        return pattern.replace("*", str(values[0]))
    is_range = values == list(range(values[0], values[-1] + 1))
    listed = f"{values[0]}..{values[-1]}" if is_range else ",".join(map(str, values))
    return pattern.replace("*", f"{{{listed}}}")
