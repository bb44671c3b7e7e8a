"""Every public docstring has an example, and the examples run, all of them with one small model."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

import layerzoo

_WITHOUT = {"hookimpl"}
"""A marker without a docstring of its own; the page about plugins shows it."""


def _documented() -> Iterator[tuple[str, str]]:
    """Yield each public name, and each public method and property of a class, with its docstring."""
    for name in layerzoo.__all__:
        if name in _WITHOUT:
            continue
        value = getattr(layerzoo, name)
        yield name, inspect.getdoc(value) or ""
        for attribute, member in sorted(vars(value).items()) if inspect.isclass(value) else ():
            if not attribute.startswith("_") and _is_method(member):
                yield f"{name}.{attribute}", inspect.getdoc(member) or ""


def _is_method(member: Any) -> bool:
    return inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)


DOCUMENTED = dict(_documented())


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_example_of_a_public_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"layerzoo": layerzoo, "numpy": numpy, "torch": torch}
    example = doctest.DocTestParser().get_doctest(DOCUMENTED[name], names, name, None, 0)
    assert example.examples, f"the docstring of {name} has no example: add one that uses toy/next-word"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []  # printing it would print into the output of the example
    assert runner.run(example, out=report.append).failed == 0, "".join(report)
