"""How large the small files of a model may be. Nothing larger is fetched or read."""

from __future__ import annotations

from pathlib import PurePosixPath

from layerzoo.errors import TooLargeError

_CONFIGURATION_BYTES = 16_000_000
"""A configuration with the names of 100,000 classes has 6 MB."""
_TOKENIZER_BYTES = 128_000_000
"""Gemma's tokenizer.json has 33 MB, and the index of a checkpoint of 700 GB 9 MB."""
_OTHER_BYTES = 50_000_000
_CONFIGURATIONS = {"config.json", "modules.json", "special_tokens_map.json", "chat_template.json"}
_TOKENIZERS = ("tokenizer", "vocab", "merges", "added_tokens", "spiece", "sentencepiece", "tekken")
_TOKENIZER_SUFFIXES = {".codes", ".model", ".spm", ".tiktoken"}
_MOST_FILES = 2_000
_MOST_BYTES = 2_000_000_000


def largest_bytes(name: str) -> int:
    """Return how large a file that a builder may read can be, by its name."""
    return _named_limit(name) or _OTHER_BYTES


def check_size(name: str, size: int, *, of: str) -> None:
    """Refuse a configuration, a tokenizer or an index that is larger than any that is in use.

    A file that no library knows by its name passes: nothing reads it.

    Args:
        name: with forward slashes.
        size: in bytes.
        of: the model or its source, for the message.
    Raises: TooLargeError.
    """
    limit = _named_limit(name)
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


def _named_limit(name: str) -> int | None:
    leaf = PurePosixPath(name).name
    if leaf.endswith(".index.json"):
        return _TOKENIZER_BYTES
    if leaf in _CONFIGURATIONS or leaf.endswith(("_config.json", ".jinja")):
        return _CONFIGURATION_BYTES
    is_tokenizer = leaf.startswith(_TOKENIZERS) or PurePosixPath(leaf).suffix in _TOKENIZER_SUFFIXES
    return _TOKENIZER_BYTES if is_tokenizer else None
