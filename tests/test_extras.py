"""A missing library raises an error that names the extra to install."""

from __future__ import annotations

import pytest

from layerzoo.errors import LayerzooError, MissingLibraryError
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
