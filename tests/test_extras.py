"""A library that is not installed is an error with its remedy."""

from __future__ import annotations

import pytest

from layerzoo.errors import LayerzooError, MissingLibraryError
from layerzoo.extras import needs


def test_the_error_names_the_library_and_the_extra_that_brings_it():
    with pytest.raises(MissingLibraryError, match=r"pip install 'layerzoo\[image\]'") as caught, needs("image"):
        import a_library.part  # noqa: F401
    assert str(caught.value).startswith("this needs a_library, which is not installed.")
    assert (caught.value.library, caught.value.extra) == ("a_library", "image")


def test_it_is_an_error_of_layerzoo_and_of_importing():
    assert issubclass(MissingLibraryError, LayerzooError)
    assert issubclass(MissingLibraryError, ImportError)


def test_a_library_that_is_there_and_fails_is_left_to_tell_itself():
    with pytest.raises(ImportError, match="cannot import name") as caught, needs("image"):
        from json import nothing_of_this_name  # noqa: F401
    assert not isinstance(caught.value, MissingLibraryError)
