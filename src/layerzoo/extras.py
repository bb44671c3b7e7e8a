"""The libraries that the core does without until they are needed: they come with an extra of this distribution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layerzoo.errors import MissingLibraryError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Imports of what comes with an extra (``layerzoo[extra]``) stand within.

    Raises: MissingLibraryError when one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingLibraryError(error.name or str(error), extra=extra) from error
