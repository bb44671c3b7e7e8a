"""Optional libraries, which an extra of this distribution installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layerzoo.errors import MissingLibraryError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Translate failed imports inside the ``with`` block into an error that names the extra (``layerzoo[extra]``).

    Args:
        extra: the extra that installs the libraries.

    Raises: MissingLibraryError when one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingLibraryError(error.name or str(error), extra=extra) from error
