"""Detect unquoted braces: a shell expands ``block.{1..9}`` to several words, and the option gets one of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import takewhile

import click

from layerzoo.library_messages import parse_extra_words

_NUMBER = re.compile(r"\d+")
_FAMILIES = "stem|block|stage|branch|norm|pooled|embedding|head|neck|query|bottleneck"
_LAYER = re.compile(rf"({_FAMILIES})(\.(\d+|{_FAMILIES}))*|module:.+")
"""The standard names of layers."""
_LONGEST_NAME = 200


_PATTERNS = ("layers", "pattern", "pools", "only")
"""Names of the parameters of commands that take layers, selectors or patterns, in which braces are usual."""


def extra_words_by_shell(error: click.UsageError) -> str | None:
    """Return a message with the correct spelling if the extra words of a command come from unquoted braces; else None.

    error: of a command that was given more words than it takes.
    """
    words = parse_extra_words(error.message)
    if words is None or error.ctx is None:
        return None
    for parameter in error.ctx.command.params:
        value = error.ctx.params.get(parameter.name or "")
        if parameter.name not in _PATTERNS or not value:
            continue
        values = [value] if isinstance(value, str) else list(value)
        option = parameter.opts[0] if isinstance(parameter, click.Option) else ""
        if message := expanded_by_shell(option, values, words, ()):
            return message
    return None


def expanded_by_shell(
    option: str, values: Sequence[str], words: Sequence[str], layer_names: Collection[str]
) -> str | None:
    """Return a message with the correct spelling if words of a command line are further values of an option; else None.

    Args:
        option: its name, as in ``--layer``; empty for an argument, which has one value.
        values: what it was given. Of ``LAYER=POOLING`` the layer counts.
        words: the words of the command line that are not expected.
        layer_names: the names of the model's layers; empty if they are unknown.
    """
    if not values:
        return None
    last = values[-1]
    more = [word for word in words if _is_layer(word, last, layer_names)]
    if not more:
        return None
    few = ", ".join(more[:3]) + (", …" if len(more) > 3 else "")
    names = [last, *more]
    quoted = _as_range(names) if "=" not in last and option != "--only" else None
    if quoted:
        suggestion = f"{option} '{quoted}'".lstrip()
    elif option:
        suggestion = " ".join(f"{option} {name}" for name in names)
    else:
        suggestion = f"one of them at a time, or a pattern in quotes, as in '{_as_pattern(names)}'"
    noun = ("names" if len(more) > 1 else "a name") if option == "--only" else "layers" if len(more) > 1 else "a layer"
    return (
        f"{few}: {noun}, where none is expected. A shell makes several words of "
        f"braces that are not quoted. Next: {suggestion}"
    )


def _is_layer(word: str, last_value: str, layer_names: Collection[str]) -> bool:
    name, equals, pool = word.partition("=")
    if bool(equals) != ("=" in last_value) or pool != last_value.partition("=")[2]:
        return False
    first = last_value.partition("=")[0]
    is_alike = _NUMBER.sub("#", name) == _NUMBER.sub("#", first) and bool(_NUMBER.search(name))
    return name in layer_names or is_alike or _LAYER.fullmatch(name) is not None


def _as_pattern(names: Sequence[str]) -> str:
    """Return a pattern that matches all of these names."""
    begin = _common_start(names)
    end = _common_start([name[len(begin) :][::-1] for name in names])[::-1]
    return f"{begin}*{end}"


def _common_start(names: Sequence[str]) -> str:
    common = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in common)


def _as_range(names: Sequence[str]) -> str | None:
    """Return the selector that a shell expanded to these names, if one number in them counts up; else None."""
    first = names[0]
    if len(first) > _LONGEST_NAME:
        return None
    for number in _NUMBER.finditer(first):
        head, tail = first[: number.start()], first[number.end() :]
        if list(names) == [f"{head}{int(number[0]) + step}{tail}" for step in range(len(names))]:
            return f"{head}{{{number[0]}..{int(number[0]) + len(names) - 1}}}{tail}"
    return None
