"""Layer names: ranges that declare many at once, and selectors that ask for some of them. Knows no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

from layerzoo.errors import LayerError, UnknownLayerError, nearest, nearest_hint
from layerzoo.printable import shorten
from layerzoo.spec import IN_MEMORY, Layer

__all__ = ["parse_address", "select"]

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_RANGE = 10_000
_MAX_NAMES = 20_000
"""How many layers one name with ranges may declare or select. The most that a model of a catalogue here has are 146."""
_MAX_DIGITS = 9
_MAX_CHARACTERS = 1_000
"""The length of a selector. The longest name of a layer in the catalogues here has 16."""
MAX_SELECTORS = 10_000
"""How many layers may be asked for at once."""
MAX_PATTERNS = 500
"""How many of them may be patterns, each of which is compared with every layer."""
_ADDRESS = re.compile(
    r"(?P<module>[^#<\[\]]*)(?:#(?P<call>\d+))?(?P<input><)?(?:\[(?:\"(?P<quoted>.*)\"|(?P<output>.+))\])?", re.DOTALL
)
_DEPTH = re.compile(r"@(0(\.\d+)?|1(\.0+)?|\.\d+)")


def expand(name: str, path: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of (name, path) for a declaration such as ``block.{0..11}: blocks.{0..11}``.

    The n-th range of the name belongs to the n-th range of the path; both have the same length. Several ranges give
    every combination. Without a range, the pair itself.
    Raises: LayerError when the ranges do not match.
    """
    ranges_of_name, ranges_of_path = _RANGE.findall(name), _RANGE.findall(path)
    if len(ranges_of_name) != len(ranges_of_path):
        raise LayerError(
            f"'{_short(name)}: {_short(path)}' has {len(ranges_of_name)} range(s) on the left and "
            f"{len(ranges_of_path)} on the right"
        )
    name_ranges = [_numbers(*limits) for limits in ranges_of_name]
    path_ranges = [_numbers(*limits) for limits in ranges_of_path]
    for name_range, path_range in zip(name_ranges, path_ranges, strict=True):
        if len(name_range) != len(path_range):
            raise LayerError(
                f"'{_short(name)}: {_short(path)}': a range of {len(name_range)} on the left, "
                f"of {len(path_range)} on the right"
            )
    if (count := prod(map(len, name_ranges))) > _MAX_NAMES:
        total = f"{count:,}" if count < 10**15 else "more than 10^15"
        raise LayerError(f"'{_short(name)}' has ranges for {total} layers, more than {_MAX_NAMES:,}")
    pairs = zip(product(*name_ranges), product(*path_ranges), strict=True)
    return ((_filled(name, name_range), _filled(path, path_range)) for name_range, path_range in pairs)


def _filled(text: str, numbers: Sequence[int]) -> str:
    """Replace each range by a number."""
    remaining = iter(numbers)
    return _RANGE.sub(lambda _: str(next(remaining)), text)


def _numbers(first: str, last: str) -> range:
    if len(first) > _MAX_DIGITS or len(last) > _MAX_DIGITS:
        raise LayerError(
            f"the range {{{_short(first)}..{_short(last)}}} has a number of more than {_MAX_DIGITS} digits"
        )
    start, stop = int(first), int(last)
    if stop < start or stop - start >= _MAX_RANGE:
        raise LayerError(f"the range {{{first}..{last}}} is empty or too long")
    return range(start, stop + 1)


def _short(text: str) -> str:
    return shorten(text, 80)


def parse_address(address: str, *, name: str = "") -> Layer:
    """Return the layer at an address, as :attr:`layerzoo.spec.Layer.address` and ``zoo layers`` write it.

    Args:
        address: ``PATH``, then ``#CALL`` (from 0), ``<`` (the input of the module) and ``[OUTPUT]`` (a position from 0
            or a name; a name of digits only is in double quotes), each optional: ``shared#4``, ``blocks.0<``,
            ``mixer[1]``, ``encoder#1<[mask]``. ``.`` is the path of the network itself.
        name: the name of the layer returned.
    Raises: LayerError for any other text.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or len(match["call"] or "") > _MAX_DIGITS:
        raise LayerError(
            f"'{_short(address)}' is not the address of a layer: PATH, then #CALL, < for the input and [OUTPUT], each "
            "optional and in this order, as in blocks.0, shared#4, blocks.0<, mixer[1]"
        )
    output: int | str | None = match["quoted"]
    if (position := match["output"]) is not None:
        output = int(position) if position.isdecimal() and len(position) <= _MAX_DIGITS else position
    return Layer(
        name=name,
        module="" if match["module"] == "." else match["module"],
        call=None if match["call"] is None else int(match["call"]),
        output=output,
        at="output" if match["input"] is None else "input",
    )


def select(layers: Sequence[Layer], selector: str, *, model: str) -> list[Layer]:
    """Return the layers that a selector means, in the network's order.

    layers: all that the model has. model: its id, for the message.
    selector: a name, ``block.-1``, ``block.*``, ``block.{3..6}``, ``last`` (the deepest block or stage), ``final``
    (the final norm, else the deepest block or stage: what a library calls the last hidden state),
    ``penultimate`` (the input of the classifier), ``@0.5`` (the layer nearest to half of the FLOPs) or
    ``module:ADDRESS`` (any submodule, see :func:`parse_address`): ``module:PATH``, ``module:PATH#CALL``,
    ``module:PATH<``, ``module:PATH[OUTPUT]``.
    Raises: UnknownLayerError, or LayerError when the selector needs what is not known, or is too long.
    """
    return select_all(layers, [selector], model=model)


def select_all(layers: Sequence[Layer], selectors: Sequence[str], *, model: str) -> list[Layer]:
    """Return the layers that several selectors mean, one selector after the other; each layer once.

    Args:
        layers: all that the model has.
        selectors: as for :func:`select`. At most 10,000, and 500 of them patterns.
        model: its id, for the message.
    Raises: as :func:`select`; LayerError also for too many selectors.
    """
    distinct = list(dict.fromkeys(selectors))
    by_name = {layer.name: layer for layer in layers}
    patterns = sum(selector not in by_name for selector in distinct)
    if len(distinct) > MAX_SELECTORS or patterns > MAX_PATTERNS:
        raise LayerError(
            f"{len(distinct):,} layers are asked for, {patterns:,} of them by a pattern or a name that {model} does "
            f"not have. At most {MAX_SELECTORS:,} and {MAX_PATTERNS:,} can be asked for at once"
        )
    selected = (layer for selector in distinct for layer in _selected(layers, by_name, selector, model))
    return list(dict.fromkeys(selected))


def _selected(layers: Sequence[Layer], by_name: dict[str, Layer], selector: str, model: str) -> list[Layer]:
    if len(selector) > _MAX_CHARACTERS:
        raise LayerError(
            f"'{_short(selector)}' has {len(selector):,} characters, and a selector has at most {_MAX_CHARACTERS:,}"
        )
    if selector.startswith("module:"):
        return [_submodule(selector)]
    if selector in by_name:
        return [by_name[selector]]
    if selector == "final":
        return [by_name["norm"] if "norm" in by_name else _last(layers, model)]
    if selector == "last":
        return [_last(layers, model)]
    if selector == "penultimate":
        return [_penultimate(by_name, model)]
    if selector.startswith("@"):
        return [_at_depth(layers, selector, model)]
    names = list(_names(selector, list(by_name)))
    unknown = next((name for name in names if name not in by_name), None) if names else selector
    if unknown is not None:
        raise unknown_layer(unknown, list(by_name), model, layers)
    selected = set(names)
    return [layer for layer in layers if layer.name in selected]


def unknown_layer(name: str, names: Sequence[str], model: str, layers: Sequence[Layer] = ()) -> UnknownLayerError:
    """Return the error for an unknown layer, with the nearest names.

    layers: those of the model; empty if the name cannot be that of a module.
    """
    close = [layer.name for layer in layers if layer.module == name]
    if close:
        hint = f"'{name}' is the module of the layer '{close[0]}'; module:{name} selects it by that name. "
    elif any(layer.module and name.startswith(f"{layer.module}.") for layer in layers):
        hint = f"A module of the network is selected by module:{name}. "
    else:
        close = nearest(name, names)
        hint = nearest_hint(close)
    return UnknownLayerError(
        f"{model} has no layer '{name}'. {hint}All {len(names)}: {listing(model)}", asked=name, nearest=close
    )


def listing(model: str) -> str:
    """Return how a user lists the layers of a model: a command, or Python for a module in memory."""
    return "backbone.spec.layers" if model.startswith(f"{IN_MEMORY}/") else f"zoo layers {model}"


def _submodule(selector: str) -> Layer:
    address = selector.removeprefix("module:")
    _, has_call, call = address.partition("[")[0].partition("#")  # a name of an output may hold anything
    if has_call and not re.match(r"\d", call):
        raise LayerError(f"'{selector}': the call after # is a number from 0, as in module:shared#4")
    return parse_address(address, name=selector)


def _names(selector: str, names: Sequence[str]) -> Iterator[str]:
    """Return the names that match a pattern. The names of a range need not exist; those of a star do."""
    if _RANGE.search(selector):
        for name, _ in expand(selector, selector):
            yield from _names(name, names)
    elif negative := re.search(r"(?<=\.)-\d{1,9}(?=\.|$)", selector):
        head, star, tail = selector.partition("*")
        if star and len(head) < negative.start():  # which one is last depends on the match of the star
            for number in sorted(_counted(head, names)):
                yield from _names(f"{head}{number}{tail}", names)
            return
        counted = _from_the_end(selector, negative, names)
        yield from [selector] if counted is None else _names(counted, names)
    elif "*" in selector:
        pattern = re.compile(re.escape(selector).replace(r"\*", r"\d++"))  # possessive: no backtracking
        yield from (name for name in names if pattern.fullmatch(name))
    else:
        yield selector


def _from_the_end(selector: str, negative: re.Match[str], names: Sequence[str]) -> str | None:
    """Return the selector with its first negative index made positive; None where there are not that many."""
    head, tail = selector[: negative.start()], selector[negative.end() :]
    numbers = _counted(head, names)
    index = len(numbers) + int(negative[0])
    return f"{head}{sorted(numbers)[index]}{tail}" if 0 <= index < len(numbers) else None


def _counted(head: str, names: Sequence[str]) -> set[int]:
    """Return the numbers that follow ``head`` in names."""
    matching = (name for name in names if name.startswith(head))
    return {int(match[1]) for name in matching if (match := re.match(re.escape(head) + r"(\d{1,9})(?=\.|$)", name))}


def _last(layers: Sequence[Layer], model: str) -> Layer:
    repeated = [layer for layer in layers if re.fullmatch(r"(branch\.\d+\.)?(block|stage)\.\d+", layer.name)]
    if not repeated:
        names = ", ".join(layer.name for layer in layers) or "none"
        raise LayerError(f"{model} has no block.N or stage.N, so 'last' means nothing. Its layers: {names}")
    return max(repeated, key=lambda layer: (layer.depth or 0.0, int(layer.name.rpartition(".")[2][:_MAX_DIGITS])))


def _penultimate(by_name: dict[str, Layer], model: str) -> Layer:
    if "head" not in by_name:
        raise LayerError(
            f"{model} has no classifier (no layer 'head'), so 'penultimate' means nothing; 'last' may be meant"
        )
    head = by_name["head"]
    return Layer(name="penultimate", module=head.module, call=head.call, at="input")


def _at_depth(layers: Sequence[Layer], selector: str, model: str) -> Layer:
    if not _DEPTH.fullmatch(selector):
        raise LayerError(f"'{selector}' is not a depth: write a share of the FLOPs from 0 to 1, as in @0.5")
    by_depth = [(layer.depth, layer) for layer in layers if layer.depth is not None]
    if not by_depth:
        raise LayerError(f"the depths of {model}'s layers are not known yet: zoo layers --trace {model}")
    depth = float(selector[1:])
    return min(by_depth, key=lambda pair: abs(pair[0] - depth))[1]
