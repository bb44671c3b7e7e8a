"""The page of every name that programs and plugins may import."""

from __future__ import annotations

from collections.abc import Iterator

import griffe
from tools.reference.markdown import bullets, code, link, page, prose, sentence
from tools.reference.signatures import alias_notes, parameters, signature
from tools.reference.source import PUBLIC_MODULES, constructor, definition, module, public_members, public_names

ERRORS = "layerzoo.errors"
_LONGEST_VALUE = 100
_COMPUTED = {"property", "cached"}


def api_page() -> str:
    """Every public module, and every name of its ``__all__`` where it is met first."""
    shown: dict[str, str] = {}
    return page(
        "Python API",
        "Everything that a program or a plugin may import. What is not on this page is not promised.",
        bullets(f"{link(path, f'Module {path}')}: {sentence(_summary(path))}" for path in PUBLIC_MODULES),
        *(part for path in PUBLIC_MODULES for part in _module_parts(path, shown)),
    )


def _summary(path: str) -> str:
    docstring = module(path).docstring
    return docstring.value.partition("\n")[0] if docstring else ""


def _module_parts(path: str, shown: dict[str, str]) -> Iterator[str]:
    docstring = module(path).docstring
    yield f"## Module {path}"
    yield prose(docstring.value) if docstring else ""
    if path == ERRORS:
        yield "They have [a page of their own](errors.md)."
        return
    elsewhere = []
    for name in public_names(path):
        found = definition(f"{path}.{name}")
        if found.path.startswith(f"{ERRORS}."):
            elsewhere.append(f"`{path}.{name}` is {link(found.path, name, page='errors.md')}")
        elif found.path in shown:
            elsewhere.append(f"`{path}.{name}` is {link(shown[found.path])}")
        else:
            shown[found.path] = f"{path}.{name}"
            yield from _name_parts(f"{path}.{name}", found)
    yield bullets(elsewhere)


def _name_parts(path: str, found: griffe.Object) -> Iterator[str]:
    yield f"### {path}"
    if isinstance(found, griffe.Class):
        yield from _class_parts(path, found)
    elif isinstance(found, griffe.Function):
        yield from function_parts(path, found)
    elif isinstance(found, griffe.Attribute):
        yield code(f"{found.name}{_typed(found)}")
        yield prose(found.docstring.value) if found.docstring else ""


def function_parts(name: str, function: griffe.Function) -> Iterator[str]:
    """A signature, the types it names, and what the docstring says."""
    yield code(signature(name, function))
    if notes := alias_notes(function):
        yield f"Here {', '.join(f'`{note}`' for note in notes)}."
    yield _docstring(function, [each.name for each in parameters(function)])


def _class_parts(path: str, found: griffe.Class) -> Iterator[str]:
    members = list(public_members(found))
    attributes = [each for each in members if isinstance(each, griffe.Attribute)]
    yield f"{_kind(found)}."
    yield _docstring(found, [each.name for each in [*found.parameters, *attributes]])
    made = constructor(found)
    if made is not None:
        yield from function_parts(path, made)
    yield bullets(attribute_line(each, found) for each in attributes)
    for method in members:
        if isinstance(method, griffe.Function):
            yield f"#### {path}.{method.name}"
            yield from function_parts(f"{path.rpartition('.')[2]}.{method.name}", method)


def attribute_line(attribute: griffe.Attribute, owner: griffe.Class) -> str:
    """An attribute in one line: its name, type, default, and what is said of it."""
    said = f": {sentence(attribute.docstring.value)}" if attribute.docstring else ""
    property_ = " (property)" if "property" in attribute.labels else ""
    return f"`{attribute.name}{_typed(attribute, owner)}`{property_}{said}"


def _typed(attribute: griffe.Attribute, owner: griffe.Class | None = None) -> str:
    """Type and value. An attribute without a type has that of the argument it is made of."""
    made = None if owner is None else constructor(owner)
    if attribute.annotation is not None or made is None or attribute.name not in made.parameters:
        annotation = "" if attribute.annotation is None else f": {attribute.annotation}"
        return f"{annotation}{_value(attribute)}"
    return f": {made.parameters[attribute.name].annotation}"


def _value(attribute: griffe.Attribute) -> str:
    """What it is by default; ``field(default_factory=dict)`` is said as what it makes."""
    value = attribute.value
    if value is None or _COMPUTED & attribute.labels:
        return ""
    if isinstance(value, griffe.ExprCall) and str(value.function) == "field":
        value = next(f"{each.value}()" for each in value.arguments if isinstance(each, griffe.ExprKeyword))
    shown = " ".join(str(value).split())
    return f" = {shown}" if len(shown) <= _LONGEST_VALUE else ""


def _kind(found: griffe.Class) -> str:
    bases = [str(base) for base in found.bases]
    if "dataclass" in found.labels:
        return "A dataclass"
    if "NamedTuple" in bases:
        return "A named tuple"
    if "TypedDict" in bases:
        return "Keyword arguments, each of which may be left out"
    return "A protocol" if "Protocol" in bases else f"A class{f', of {bases[0]}' if bases else ''}"


def _docstring(found: griffe.Object, names: list[str]) -> str:
    return prose(found.docstring.value, names) if found.docstring else ""
