"""Signatures, with types as they stand in the source."""

from __future__ import annotations

from collections.abc import Iterator

import griffe
from tools.reference.source import definition, is_alias_of_types

_WIDTH = 100
_OWNERS = frozenset({"self", "cls"})
_BEFORE = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}


def signature(name: str, function: griffe.Function) -> str:
    """A call and what it returns: on one line where there is room, else a line a parameter."""
    returns = "" if function.name == "__init__" else f" -> {function.returns}"
    return _call(name, parameters(function), returns)


def parameters(function: griffe.Function) -> list[griffe.Parameter]:
    """What a caller gives."""
    return [each for each in function.parameters if each.name not in _OWNERS]


def alias_notes(function: griffe.Function) -> list[str]:
    """The names for types in a signature, and what they stand for: ``Precision = Literal[…]``."""
    expressions = [each.annotation for each in function.parameters] + [function.returns]
    return list(dict.fromkeys(note for each in expressions for note in _aliases(each)))


def _aliases(expression: str | griffe.Expr | None) -> Iterator[str]:
    if not isinstance(expression, griffe.Expr):
        return
    for each in expression.iterate(flat=True):
        if isinstance(each, griffe.ExprName) and each.canonical_path.startswith("layerzoo."):
            found = definition(each.canonical_path)
            if is_alias_of_types(found) and isinstance(found, griffe.Attribute):
                yield f"{each.name} = {found.value}"


def _call(name: str, given: list[griffe.Parameter], returns: str) -> str:
    shown = list(_with_star(given))
    line = f"{name}({', '.join(shown)}){returns}"
    return line if len(line) <= _WIDTH else "\n".join([f"{name}(", *(f"    {each}," for each in shown), f"){returns}"])


def _with_star(given: list[griffe.Parameter]) -> Iterator[str]:
    is_starred = False
    for each in given:
        if each.kind is griffe.ParameterKind.keyword_only and not is_starred:
            is_starred = True
            yield "*"
        is_starred = is_starred or each.kind is griffe.ParameterKind.var_positional
        yield _parameter(each)


def _parameter(each: griffe.Parameter) -> str:
    name = _BEFORE.get(each.kind, "") if each.kind else ""
    annotation = "" if each.annotation is None else f": {each.annotation}"
    default = "" if each.default is None or name else f"{' = ' if annotation else '='}{each.default}"
    return f"{name}{each.name}{annotation}{default}"
