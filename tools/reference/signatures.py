"""Format signatures with the types of the source."""

from __future__ import annotations

import re
from collections.abc import Iterator

import griffe
from tools.reference.source import definition, is_alias_of_types

_WIDTH = 100
_OWNERS = frozenset({"self", "cls"})
_LIMITS = {
    "ge": "at least {}",
    "gt": "greater than {}",
    "le": "at most {}",
    "min_length": "at least {} character",
    "max_length": "at most {} characters",
}
_STARS = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}


def signature(name: str, function: griffe.Function) -> str:
    """Format a signature on one line if it fits, otherwise with one line per parameter."""
    returns = "" if function.name == "__init__" else f" -> {function.returns}"
    return _call(name, parameters(function), returns)


def parameters(function: griffe.Function) -> list[griffe.Parameter]:
    """Return the parameters that a caller passes: of another function of the module, where a decorator names it."""
    for decorator in function.decorators:
        if match := re.fullmatch(r"with_parameters_of\((\w+)\)", str(decorator.value)):
            other = function.parent.members[match[1]] if function.parent else None
            if isinstance(other, griffe.Function):
                return parameters(other)
    return [parameter for parameter in function.parameters if parameter.name not in _OWNERS]


def alias_notes(function: griffe.Function) -> list[str]:
    """Return the definitions of the type aliases in a signature, as in ``Precision = Literal[…]``."""
    annotations = [parameter.annotation for parameter in parameters(function)] + [function.returns]
    return list(dict.fromkeys(note for annotation in annotations for note in _aliases(annotation)))


def without_limits(annotation: str | griffe.Expr) -> str:
    """Format a type without its limits: ``NonNegativeInt | None`` as ``int | None``."""
    text = str(annotation)
    for name, annotated in _annotated(annotation):
        text = text.replace(name, str(_arguments(annotated)[0]))
    return text


def limits(annotation: str | griffe.Expr | None) -> list[str]:
    """Describe the limits of a type, as in ``at least 0``. Constraints with a name, such as MAX_INT, are omitted."""
    calls = [call for _, annotated in _annotated(annotation) for call in _arguments(annotated)[1:]]
    keywords = [each for call in calls if isinstance(call, griffe.ExprCall) for each in call.arguments]
    literals = {
        each.name: str(each.value)
        for each in keywords
        if isinstance(each, griffe.ExprKeyword) and isinstance(each.value, str)
    }
    return [_LIMITS[name].format(value) for name, value in literals.items()]


def _annotated(expression: str | griffe.Expr | None) -> Iterator[tuple[str, griffe.ExprSubscript]]:
    """Yield every ``Annotated[…]`` of a type, or a type alias of one, with its text in the type."""
    if not isinstance(expression, griffe.Expr):
        return
    for part in [expression, *expression.iterate(flat=False)]:
        if isinstance(part, griffe.ExprSubscript) and str(part.left) == "Annotated":
            yield str(part), part
    for part in expression.iterate(flat=True):
        if isinstance(part, griffe.ExprName) and part.canonical_path.startswith("layerzoo."):
            alias = definition(part.canonical_path)
            value = alias.value if isinstance(alias, griffe.Attribute) else None
            if isinstance(value, griffe.ExprSubscript) and str(value.left) == "Annotated":
                yield part.name, value


def _arguments(annotated: griffe.ExprSubscript) -> list[str | griffe.Expr]:
    return list(annotated.slice.elements) if isinstance(annotated.slice, griffe.ExprTuple) else [annotated.slice]


def _aliases(expression: str | griffe.Expr | None) -> Iterator[str]:
    if not isinstance(expression, griffe.Expr):
        return
    for part in expression.iterate(flat=True):
        if isinstance(part, griffe.ExprName) and part.canonical_path.startswith("layerzoo."):
            alias = definition(part.canonical_path)
            if is_alias_of_types(alias) and isinstance(alias, griffe.Attribute):
                yield f"{part.name} = {alias.value}"


def _call(name: str, declared: list[griffe.Parameter], returns: str) -> str:
    texts = list(_with_star(declared))
    line = f"{name}({', '.join(texts)}){returns}"
    return line if len(line) <= _WIDTH else "\n".join([f"{name}(", *(f"    {text}," for text in texts), f"){returns}"])


def _with_star(declared: list[griffe.Parameter]) -> Iterator[str]:
    is_starred = False
    for parameter in declared:
        if parameter.kind is griffe.ParameterKind.keyword_only and not is_starred:
            is_starred = True
            yield "*"
        is_starred = is_starred or parameter.kind is griffe.ParameterKind.var_positional
        yield _parameter(parameter)


def _parameter(parameter: griffe.Parameter) -> str:
    stars = _STARS.get(parameter.kind, "") if parameter.kind else ""
    annotation = "" if parameter.annotation is None else f": {parameter.annotation}"
    default = "" if parameter.default is None or stars else f"{' = ' if annotation else '='}{parameter.default}"
    return f"{stars}{parameter.name}{annotation}{default}"
