"""Importing a module of the runtime gives that module."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

import layerzoo
import layerzoo.runtime

NAMES = sorted(path.stem for path in Path(str(layerzoo.runtime.__file__)).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_module_is_bound_to_the_module(name: str) -> None:
    module = importlib.import_module(f"layerzoo.runtime.{name}")
    assert isinstance(module, ModuleType)
    assert getattr(layerzoo.runtime, name) is module


def test_public_functions_are_not_modules() -> None:
    for function in (layerzoo.build, layerzoo.extract, layerzoo.load, layerzoo.stream):
        assert not isinstance(function, ModuleType)
