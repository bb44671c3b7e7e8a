"""What the library says of a model that it cannot make, as one of layerzoo's errors; and the library without a word."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from transformers.utils import logging

from layerzoo.errors import MissingLibraryError, RemoteCodeError

_REQUIRED = (
    re.compile(r"requires? the ([\w.-]+) library"),
    re.compile(r"pip install (?:-\S+ )*['\"]?([\w.-]+)"),
    re.compile(r"install (?:the )?`?([\w.-]+)`?"),
)
"""How the library names a package that is missing, the clearest way first."""


@contextlib.contextmanager
def told_plainly(model: str) -> Iterator[None]:
    """The errors for a package that is missing, and for code of a repository's own, which is never run.

    model: the id. Raises: MissingLibraryError, RemoteCodeError; what else is raised inside passes.
    """
    try:
        yield
    except ImportError as error:
        if isinstance(error, MissingLibraryError):
            raise
        named = next(filter(None, (pattern.search(str(error)) for pattern in _REQUIRED)), None)
        name = error.name or (named and named[1]) or "a package"
        raise MissingLibraryError(name, needed_by=model) from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise remote_code(model, "its tokenizer or processor is") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' warnings, and its progress bar."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def remote_code(model: str, what: str) -> RemoteCodeError:
    """what: the part of the model, and its verb."""
    return RemoteCodeError(
        f"{model}: {what} code that lies in its repository, and layerzoo never runs such code. Next: another "
        "checkpoint, of a network that the library knows, or a plugin of your own that builds this one (zoo plugin new)"
    )
