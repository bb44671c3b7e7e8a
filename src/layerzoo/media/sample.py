"""A sample: its id, its source, and its error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from layerzoo.errors import SampleError


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample that is not decoded yet, and becomes one row of features.

    id: the path as it was given (``folder/relative/path`` in a folder, ``path:ROW`` in a text file), or the position
    among the inputs, from "0", of a sample in memory.
    source: the input of the decoder of the modality: a Path; bytes; a text; a PIL image; an array; an Audio; or a
    torch.Tensor, which is preprocessed already and is not decoded at all.
    """

    id: str
    source: Any


class UnusableError(ValueError):
    """Why something cannot be used, said without naming it: who knows the name adds it."""


@contextmanager
def failing_as(id: str) -> Iterator[None]:
    """Turn an UnusableError inside the ``with`` block into the SampleError of this sample."""
    try:
        yield
    except UnusableError as refusal:
        raise SampleError(id, str(refusal)) from refusal.__cause__


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as an id: with forward slashes, and valid Unicode for all bytes of the file system."""
    text = os.fspath(path).replace(os.sep, "/")
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def name_of(source: object) -> str:
    """Return the name in errors of a source without an id: its path, or its type."""
    return shown(source) if isinstance(source, str | os.PathLike) else type(source).__name__
