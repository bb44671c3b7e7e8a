"""Generate the page of all names that programs and plugins may import."""

from __future__ import annotations

from collections.abc import Iterator

import griffe
from tools.reference.markdown import bullets, code, link, page, prose, sentence
from tools.reference.signatures import alias_notes, limits, parameters, signature, without_limits
from tools.reference.source import PUBLIC_MODULES, constructor, definition, module, public_members, public_names

ERRORS = "layerzoo.errors"
_LONGEST_VALUE = 100
_COMPUTED = {"property", "cached"}


def api_page() -> str:
    """Document every public module, and every name of its ``__all__`` at its first occurrence."""
    shown: dict[str, str] = {}
    return page(
        "Python API",
        "All names that a program or a plugin may import. Other names are not public and may change.",
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
        yield "See [errors](errors.md)."
        return
    elsewhere = []
    for name in public_names(path):
        public = definition(f"{path}.{name}")
        if public.path.startswith(f"{ERRORS}.") and isinstance(public, griffe.Class):
            elsewhere.append(f"`{path}.{name}` is {link(public.path, name, page='errors.md')}")
        elif public.path in shown:
            elsewhere.append(f"`{path}.{name}` is {link(shown[public.path])}")
        else:
            shown[public.path] = f"{path}.{name}"
            yield from _name_parts(f"{path}.{name}", public)
    yield bullets(elsewhere)


def _name_parts(path: str, public: griffe.Object) -> Iterator[str]:
    yield f"### {path}"
    if isinstance(public, griffe.Class):
        yield from _class_parts(path, public)
    elif isinstance(public, griffe.Function):
        yield from function_parts(path, public)
    elif isinstance(public, griffe.Attribute):
        yield code(f"{public.name}{_typed(public)}")
        yield prose(public.docstring.value) if public.docstring else ""


def function_parts(name: str, function: griffe.Function) -> Iterator[str]:
    """Document a function: its signature, the type aliases in it, and its docstring."""
    yield code(signature(name, function))
    if notes := alias_notes(function):
        yield f"Here {', '.join(f'`{note}`' for note in notes)}."
    yield _docstring(function, [parameter.name for parameter in parameters(function)])


def _class_parts(path: str, owner: griffe.Class) -> Iterator[str]:
    members = list(public_members(owner))
    attributes = [member for member in members if isinstance(member, griffe.Attribute)]
    yield f"{_kind(owner)}."
    yield _docstring(owner, [argument.name for argument in [*owner.parameters, *attributes]])
    init = constructor(owner)
    if init is not None:
        yield from function_parts(path, init)
    yield bullets(attribute_line(attribute, owner) for attribute in attributes)
    for method in members:
        if isinstance(method, griffe.Function):
            yield f"#### {path}.{method.name}"
            yield from function_parts(f"{path.rpartition('.')[2]}.{method.name}", method)


def attribute_line(attribute: griffe.Attribute, owner: griffe.Class) -> str:
    """Document an attribute in one line: name, type, default and docstring."""
    description = f": {sentence(attribute.docstring.value)}" if attribute.docstring else ""
    remarks = ["property"] if "property" in attribute.labels else limits(attribute.annotation)
    remark = f" ({', '.join(remarks)})" if remarks else ""
    return f"`{attribute.name}{_typed(attribute, owner)}`{remark}{description}"


def _typed(attribute: griffe.Attribute, owner: griffe.Class | None = None) -> str:
    """Return type and value. An attribute without a type has that of the constructor argument of its name."""
    init = None if owner is None else constructor(owner)
    if attribute.annotation is not None or init is None or attribute.name not in init.parameters:
        annotation = "" if attribute.annotation is None else f": {without_limits(attribute.annotation)}"
        return f"{annotation}{_value(attribute)}"
    return f": {init.parameters[attribute.name].annotation}"


def _value(attribute: griffe.Attribute) -> str:
    """Return the default. ``field(default_factory=dict)`` is written as ``dict()``."""
    value = attribute.value
    if value is None or _COMPUTED & attribute.labels:
        return ""
    if isinstance(value, griffe.ExprCall) and str(value.function) == "field":
        value = next(f"{argument.value}()" for argument in value.arguments if isinstance(argument, griffe.ExprKeyword))
    shown = " ".join(str(value).split())
    return f" = {shown}" if len(shown) <= _LONGEST_VALUE else ""


def _kind(owner: griffe.Class) -> str:
    bases = [str(base) for base in owner.bases]
    if "dataclass" in owner.labels:
        return "A dataclass"
    if "NamedTuple" in bases:
        return "A named tuple"
    if "TypedDict" in bases:
        return "Keyword arguments, all optional"
    return "A protocol" if "Protocol" in bases else f"A class{f' derived from {bases[0]}' if bases else ''}"


def _docstring(documented: griffe.Object, names: list[str]) -> str:
    return prose(documented.docstring.value, names) if documented.docstring else ""
