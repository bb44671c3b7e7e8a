"""The API page lists every public name, and every public name has annotations and a docstring."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

import griffe
import pytest
from tools.reference.api import api_page
from tools.reference.errors import errors_page
from tools.reference.signatures import parameters
from tools.reference.source import PUBLIC_MODULES, definition, public_members, public_names

import layerzoo
from layerzoo import errors

ERRORS = "layerzoo.errors"


def _objects() -> Iterator[tuple[str, griffe.Object]]:
    """Yield every public name and every public member of a class, with its dotted path."""
    for path in PUBLIC_MODULES:
        for name in public_names(path):
            public = definition(f"{path}.{name}")
            yield public.path, public
            if isinstance(public, griffe.Class):
                yield from ((member.path, member) for member in public_members(public))


def _needs_a_docstring(public: griffe.Object) -> bool:
    """Whether this is a function, a class or a property. The fields of a dataclass may be self-explanatory."""
    return not isinstance(public, griffe.Attribute) or "property" in public.labels


OBJECTS = {path: public for path, public in _objects() if _needs_a_docstring(public)}


@pytest.mark.parametrize("path", PUBLIC_MODULES)
def test_the_page_lists_every_public_name_of_a_module(path: str) -> None:
    if path == ERRORS:
        listed = re.findall(r"^## (\w+)$", errors_page(), re.M)
    else:
        section = re.split(r"^## Module ", api_page(), flags=re.M)[1 + PUBLIC_MODULES.index(path)]
        listed = re.findall(rf"^(?:### |- `){re.escape(path)}\.(\w+)(?:`|$)", section, re.M)
    assert sorted(listed) == sorted(importlib.import_module(path).__all__)


@pytest.mark.parametrize("path", PUBLIC_MODULES)
def test_every_public_name_can_be_imported_and_has_the_documented_definition(path: str) -> None:
    module = importlib.import_module(path)
    for name in module.__all__:
        public = getattr(module, name)
        if inspect.isclass(public) or inspect.isfunction(public):
            assert definition(f"{path}.{name}").path == f"{public.__module__}.{public.__qualname__}"


@pytest.mark.parametrize("path", PUBLIC_MODULES)
def test_public_names_are_unique_and_not_private(path: str) -> None:
    names = list(importlib.import_module(path).__all__)
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("_")]


def test_every_error_is_public() -> None:
    def below(error: type[errors.LayerzooError]) -> Iterator[str]:
        yield error.__name__
        for child in error.__subclasses__():
            if child.__module__ == ERRORS:
                yield from below(child)

    assert set(errors.__all__) == set(below(errors.LayerzooError))


def test_only_listed_names_are_attributes_of_the_package() -> None:
    assert set(layerzoo.__all__) <= set(dir(layerzoo))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = layerzoo.no_such_name


@pytest.mark.parametrize("path", OBJECTS)
def test_a_public_name_has_a_docstring(path: str) -> None:
    assert OBJECTS[path].docstring is not None


@pytest.mark.parametrize("path", [path for path, public in OBJECTS.items() if isinstance(public, griffe.Function)])
def test_a_public_function_is_annotated(path: str) -> None:
    function = OBJECTS[path]
    assert isinstance(function, griffe.Function)
    assert function.returns is not None
    assert [parameter.name for parameter in parameters(function) if parameter.annotation is None] == []
