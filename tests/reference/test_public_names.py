"""What may be imported is what the page lists, and each of it is typed and explained."""

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
    """Every public name, and what a class offers, by its dotted path."""
    for path in PUBLIC_MODULES:
        for name in public_names(path):
            found = definition(f"{path}.{name}")
            yield found.path, found
            if isinstance(found, griffe.Class):
                yield from ((member.path, member) for member in public_members(found))


def _is_called_or_read(found: griffe.Object) -> bool:
    """Functions, classes and properties; what the fields of a dataclass are is said where it is not plain."""
    return not isinstance(found, griffe.Attribute) or "property" in found.labels


OBJECTS = {path: found for path, found in _objects() if _is_called_or_read(found)}


@pytest.mark.parametrize("path", PUBLIC_MODULES)
def test_all_of_a_module_is_what_its_page_lists(path: str) -> None:
    if path == ERRORS:
        listed = re.findall(r"^## (\w+)$", errors_page(), re.M)
    else:
        section = re.split(r"^## Module ", api_page(), flags=re.M)[1 + PUBLIC_MODULES.index(path)]
        listed = re.findall(rf"^(?:### |- `){re.escape(path)}\.(\w+)(?:`|$)", section, re.M)
    assert sorted(listed) == sorted(importlib.import_module(path).__all__)


@pytest.mark.parametrize("path", PUBLIC_MODULES)
def test_all_of_a_module_can_be_imported_and_is_documented_where_it_is_defined(path: str) -> None:
    module = importlib.import_module(path)
    for name in module.__all__:
        found = getattr(module, name)
        if inspect.isclass(found) or inspect.isfunction(found):
            assert definition(f"{path}.{name}").path == f"{found.__module__}.{found.__qualname__}"


@pytest.mark.parametrize("path", PUBLIC_MODULES)
def test_all_of_a_module_stands_there_once_and_nothing_private_does(path: str) -> None:
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


def test_a_name_that_is_listed_is_there_and_no_other_is() -> None:
    assert set(layerzoo.__all__) <= set(dir(layerzoo))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = layerzoo.no_such_name


@pytest.mark.parametrize("path", OBJECTS)
def test_it_has_a_docstring(path: str) -> None:
    assert OBJECTS[path].docstring is not None


@pytest.mark.parametrize("path", [path for path, found in OBJECTS.items() if isinstance(found, griffe.Function)])
def test_it_is_annotated(path: str) -> None:
    function = OBJECTS[path]
    assert isinstance(function, griffe.Function)
    assert function.returns is not None
    assert [each.name for each in parameters(function) if each.annotation is None] == []
