"""A missing library raises an error that names the extra to install."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from tests.distributions import ROOT

from layerzoo.errors import STARTER_EXTRAS, LayerzooError, MissingLibraryError
from layerzoo.extras import needs


def test_the_error_names_the_library_and_its_extra():
    with pytest.raises(MissingLibraryError, match=r"pip install 'layerzoo\[image\]'") as caught, needs("image"):
        import a_library.part  # noqa: F401
    assert str(caught.value).startswith("this needs a_library, which is not installed.")
    assert (caught.value.library, caught.value.extra) == ("a_library", "image")


def test_the_error_is_a_layerzoo_error_and_an_import_error():
    assert issubclass(MissingLibraryError, LayerzooError)
    assert issubclass(MissingLibraryError, ImportError)


def test_other_import_errors_are_not_translated():
    with pytest.raises(ImportError, match="cannot import name") as caught, needs("image"):
        from json import nothing_of_this_name  # noqa: F401
    assert not isinstance(caught.value, MissingLibraryError)


def test_starter_is_recommended_for_the_extras_that_it_installs():
    projects = {path.parent.name: tomllib.loads(path.read_text())["project"] for path in ROOT.glob("plugins/*/*.toml")
                if path.name == "pyproject.toml"}  # fmt: skip
    extras: set[str] = set()
    pending = ["starter"]
    for name in pending:
        for requirement in map(Requirement, projects[name]["dependencies"]):
            extras |= requirement.extras if requirement.name == "layerzoo" else set()
            if requirement.name.startswith("layerzoo-"):
                pending.append(requirement.name.removeprefix("layerzoo-"))
    assert extras | set(pending) - {"starter"} == STARTER_EXTRAS


def test_an_extra_that_starter_lacks_is_recommended_alone():
    assert "starter" not in str(MissingLibraryError("skorch", extra="sequence"))
