"""How large the small files of a model may be. Nothing larger is fetched or read."""

from __future__ import annotations

from pathlib import PurePosixPath

from layerzoo.errors import TooLargeError
from layerzoo.weights.conventions import FileConventions

_INDEX_BYTES = 128_000_000
"""The index of a checkpoint of 700 GB has 9 MB."""
_OTHER_BYTES = 50_000_000
_MOST_FILES = 2_000
_MOST_BYTES = 2_000_000_000


def largest_bytes(name: str, conventions: FileConventions) -> int:
    """Return how large a file that a builder may read can be, by its name."""
    return _named_limit(name, conventions) or _OTHER_BYTES


def check_size(name: str, size: int, conventions: FileConventions, *, of: str) -> None:
    """Refuse a configuration, a tokenizer or an index that is larger than any that is in use.

    A file that no library knows by its name passes: nothing reads it.

    Args:
        name: with forward slashes.
        size: in bytes.
        conventions: the names that libraries use.
        of: the model or its source, for the message.
    Raises: TooLargeError.
    """
    limit = _named_limit(name, conventions)
    if limit is not None and size > limit:
        raise TooLargeError(
            f"{of}: its {name} has {size:,} bytes, and one of more than {limit:,} is not read. Next: another checkpoint"
        )


def check_total(sizes: list[int], *, of: str) -> None:
    """Refuse small files that are too many, or too large together. Raises: TooLargeError."""
    if len(sizes) > _MOST_FILES or sum(sizes) > _MOST_BYTES:
        raise TooLargeError(
            f"{of}: next to its checkpoint are {len(sizes):,} small files of {sum(sizes):,} bytes together, and at "
            f"most {_MOST_FILES:,} of {_MOST_BYTES:,} bytes are fetched. Next: another checkpoint, or a folder "
            "with the files that count as weights=FOLDER"
        )


def _named_limit(name: str, conventions: FileConventions) -> int | None:
    leaf = PurePosixPath(name).name
    return _INDEX_BYTES if leaf.endswith(".index.json") else conventions.most_bytes(leaf)
