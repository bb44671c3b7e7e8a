"""What a model must be to be found, and the order of what is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from layerzoo.errors import UsageError, nearest
from layerzoo.modalities import MODALITIES, Modality
from layerzoo.registry.words import MAX_PIECES, pieces


class Filters(TypedDict, total=False):
    """What a model must be to be found. What is left out, or None, may be anything.

    A model that does not declare the filtered value is left out. :meth:`Registry.unsized` counts the models that a
    filter by size leaves out for that reason.
    """

    modality: Modality | None
    plugin: str | None
    """A namespace or a distribution."""
    builder: str | None
    license: str | None
    """In any case: ``mit``, ``MIT``."""
    min_params: int | None
    max_params: int | None
    size_px: int | tuple[int, int] | None
    """Height and width of the pictures or frames that the network receives; one number for a square."""
    rate_hz: int | None
    """Samples of sound a second."""
    width: int | None
    """How many values a sample has at the model's default layer and pooling."""
    max_width: int | None
    text: str | None
    """Words; each must begin a word of the id, the summary, the modality, the builder or the license."""
    installed: bool | None
    """Whether it is installed (if nothing is said), or published and not installed. None: either."""


LARGEST_NUMBER = 2**63 - 1
"""What an index can hold."""
_MAX_CHARACTERS = 20_000
_NUMBERS: tuple[Literal["min_params", "max_params", "size_px", "rate_hz", "width", "max_width"], ...] = (
    *("min_params", "max_params", "size_px"),
    *("rate_hz", "width", "max_width"),
)

SORTS = ("id", "modality", "builder", "license", "params", "width", "size_px", "rate_hz")
"""What models can be sorted by; size_px by its area."""


def check_filters(filters: Filters) -> None:
    """Raises: UsageError for a filter, or a modality, that does not exist."""
    for name in filters:
        if name not in Filters.__annotations__:
            raise no_such("filter", name, list(Filters.__annotations__))
    if (modality := filters.get("modality")) is not None:
        check_modality(modality)
    if (text := filters.get("text")) is not None:
        _check_text(text)
    for name in _NUMBERS:
        value = filters.get(name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and not 0 <= number <= LARGEST_NUMBER:
                raise UsageError(f"{name} is a number from 0 to {LARGEST_NUMBER:,}, and this is {_short(number)}")


def _check_text(text: str) -> None:
    """Raises: UsageError for more words than an index can be asked for in reasonable time."""
    count = len(set(pieces(text))) if len(text) <= _MAX_CHARACTERS else MAX_PIECES + 1
    if count > MAX_PIECES:
        raise UsageError(
            f"a search has at most {MAX_PIECES} different words (runs of letters, and of digits) and "
            f"{_MAX_CHARACTERS:,} characters; this one has {len(set(pieces(text))):,} and {len(text):,}"
        )


def _short(number: int) -> str:
    return f"{number:,}" if abs(number) < 10**30 else "a number of more than 30 digits"


def check_modality(modality: str) -> None:
    """Raises: UsageError for a modality that does not exist."""
    if modality not in MODALITIES:
        raise no_such("modality", modality, MODALITIES)


def check_order(sort: str | None, limit: int | None) -> None:
    """Raises: UsageError for a key that models cannot be sorted by, or a negative limit."""
    if sort is not None and sort.removeprefix("-") not in SORTS:
        raise no_such("sort key", sort, SORTS)
    if limit is not None and not 0 <= limit <= LARGEST_NUMBER:
        raise UsageError(f"a limit is a number from 0, not {_short(limit)}. The largest is {LARGEST_NUMBER:,}")


def no_such(noun: str, asked: str, names: Sequence[str]) -> UsageError:
    """The error for a word that is not one of a few."""
    close = nearest(asked.removeprefix("-"), names)
    hint = f"Nearest: {', '.join(close)}. " if close else ""
    return UsageError(f"there is no {noun} '{asked}'. {hint}All: {', '.join(names)}")
