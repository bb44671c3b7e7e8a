"""Texts: from bytes to str, and from str to the tokens that a language network takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from layerzoo.errors import SampleError, UsageError
from layerzoo.media.sample import UnusableError, failing_as

__all__ = ["Tokenizer"]


@runtime_checkable
class Tokenizer(Protocol):
    """What a plugin gives for a text model: see the hook ``layerzoo_preprocess``."""

    @property
    def prefix(self) -> Sequence[int]:
        """The special tokens before every sequence, such as [CLS]."""

    @property
    def suffix(self) -> Sequence[int]:
        """The special tokens after every sequence, such as [SEP]."""

    @property
    def pad(self) -> int:
        """The token that fills shorter sequences up."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without any special ones."""


class Tokens(NamedTuple):
    """A text as its network takes it.

    windows: sequences of at most max_tokens, each with the special tokens around it; a single one, unless windows were
    asked for.
    left_out: how many tokens of the text are in none of them.
    """

    windows: list[list[int]]
    left_out: int


def decode(source: str | bytes) -> str:
    """A text, checked. source: a text, or its UTF-8 bytes.

    Raises: SampleError when it is empty, nothing but white space, or no valid Unicode.
    """
    with failing_as("text"):
        if not isinstance(source, str | bytes):
            raise UnusableError(f"a text is a str or UTF-8 bytes, and this is a {type(source).__name__}")
        text = _decoded(source)
        if not text.strip():
            raise UnusableError("empty text")
        return text


def tokenise(text: str, tokenizer: Tokenizer, max_tokens: int, *, windows: bool = False, overlap: int = 0) -> Tokens:
    """The tokens of a text, with the special ones around them.

    max_tokens: the longest sequence, special tokens included.
    windows: False cuts off what is too long at the end, as transformers' ``truncation=True`` does, and counts it; True
    splits it into consecutive sequences, of which neighbours share ``overlap`` tokens.
    Raises: SampleError when there are no tokens at all; UsageError when max_tokens leaves no room for any.
    """
    prefix, suffix = list(tokenizer.prefix), list(tokenizer.suffix)
    room = max_tokens - len(prefix) - len(suffix)
    if room < 1 or not 0 <= overlap < room:
        raise UsageError(
            f"max_tokens={max_tokens} with {len(prefix) + len(suffix)} special tokens leaves room for {max(0, room)}, "
            f"which must be more than 0 and more than the overlap of {overlap}"
        )
    content = tokenizer.encode(text)
    if not (prefix or content or suffix):
        raise SampleError("text", "no tokens: the tokenizer makes nothing of it")
    last_start = max(0, len(content) - room) if windows else 0
    step = room - overlap
    starts = [*range(0, last_start, step), -(-last_start // step) * step]
    return Tokens(
        windows=[[*prefix, *content[start : start + room], *suffix] for start in starts],
        left_out=0 if windows else max(0, len(content) - room),
    )


def _decoded(source: str | bytes) -> str:
    try:
        # A lone surrogate is what Python puts where bytes are no UTF-8, and no tokenizer takes it.
        return (source.encode("utf-8") if isinstance(source, str) else source).decode("utf-8")
    except UnicodeEncodeError as error:
        raise UnusableError(f"not valid Unicode: a lone surrogate at character {error.start}") from error
    except UnicodeDecodeError as error:
        raise UnusableError(f"not UTF-8: byte {error.object[error.start]:#04x} at position {error.start}") from error
