"""Texts: from bytes to str, and from str to the tokens that a language network takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol, runtime_checkable

from layerzoo.errors import EmptySampleError, UsageError
from layerzoo.media.sample import UnusableError, failing_as

__all__ = ["KnowsUnknown", "Tokenizer"]

OVERLAP_SHARE = 1 / 8
"""Of a chunk, what it shares with each neighbour where nothing else is asked for."""

UNKNOWN_SHARE = 0.03
"""Of the tokens of some texts, how many may be unknown before that is worth a warning.

Through a vocabulary of English: 0.001 of 37,185 tweets, 0.01 of those with emoji, 0.027 of those with more than a tenth
of other characters than ASCII; and 0.04 of Korean, 0.14 of Hindi, 0.15 of Japanese, 0.66 of Chinese, all of Thai.
"""
STRETCH = 100_000
"""Characters after which a text is taken apart for its tokenizer, whose memory is hundreds of times a text's size."""
_SEAM = re.compile(r"(?<=\w)(?=\s\w)|(?<=[^\w\s])(?=\w)")
"""Where a text may come apart: before the space between two words, or between a full stop and what follows it."""
_AROUND_SEAM = 200
_SEAMS_TRIED = 20


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


@runtime_checkable
class KnowsUnknown(Tokenizer, Protocol):
    """A tokenizer that says which token stands for what its vocabulary lacks. Of others such tokens are not counted."""

    @property
    def unknown(self) -> int | None:
        """That token; None where nothing is unknown, as to a vocabulary of bytes."""


class Chunk(NamedTuple):
    """A stretch of a text as its network takes it.

    ids: at most max_tokens, with the special tokens around them.
    span: where the positions begin and end that stand for the text here. What lies outside is context: tokens that a
    neighbour stands for, and special tokens that are not at an end of the text.
    """

    ids: list[int]
    span: tuple[int, int]


class Tokens(NamedTuple):
    """A text as its network takes it.

    chunks: a single one, unless chunks were asked for. Their spans, one after the other, are the whole text between
    its special tokens, each position once.
    total: how many tokens the text has, special ones not counted; unknown: how many of them stand for what the
    vocabulary lacks, None where the tokenizer does not tell; left_out: how many are in no chunk.
    """

    chunks: list[Chunk]
    total: int
    unknown: int | None
    left_out: int


def decode(source: str | bytes) -> str:
    """A text, checked. source: a text, or its UTF-8 bytes.

    Raises: EmptySampleError when it is empty or nothing but white space; SampleError when it is no valid Unicode.
    """
    with failing_as("text"):
        if not isinstance(source, str | bytes):
            raise UnusableError(f"a text is a str or UTF-8 bytes, and this is a {type(source).__name__}")
        text = _decoded(source)
    if not text.strip():
        raise EmptySampleError("text", "empty text")
    return text


def tokenise(text: str, tokenizer: Tokenizer, max_tokens: int, *, overlap: int | None = None) -> Tokens:
    """The tokens of a text, with the special ones around them.

    max_tokens: the longest sequence, special tokens included.
    overlap: None cuts off what is too long at the end, as transformers' ``truncation=True`` does, and counts it; a
        number splits it into consecutive chunks, of which neighbours share so many tokens and stand for half of them.
    Raises: EmptySampleError when there are no tokens at all; UsageError when max_tokens leaves no room for any.
    """
    prefix, suffix = list(tokenizer.prefix), list(tokenizer.suffix)
    room = room_for(tokenizer, max_tokens, overlap or 0)
    content = encode(text, tokenizer)
    if not content:
        raise EmptySampleError("text", "no tokens: the tokenizer makes nothing of it")
    shared = overlap or 0
    end = min(room, len(content)) if overlap is None else len(content)
    starts = range(0, max(1, end - shared), room - shared)
    chunks = []
    for start in starts:
        ids = [*prefix, *content[start : min(start + room, end)], *suffix]
        first = len(prefix) + shared // 2
        chunks.append(Chunk(ids, (first if start else 0, len(ids) if start == starts[-1] else first + starts.step)))
    return Tokens(chunks, total=len(content), unknown=_unknown(tokenizer, content), left_out=len(content) - end)


def counts(text: str, tokens: Tokens) -> dict[str, int]:
    """What is worth knowing about a text beside its features, in numbers that add up.

    Returns: its words, which is what stands between white space; its tokens; how many of these are unknown, if the
    tokenizer tells; whether it was truncated, how many tokens that left out, and whether it was split into chunks.
    """
    return {
        "words": len(text.split()),
        "tokens": tokens.total,
        **({} if tokens.unknown is None else {"unknown": tokens.unknown}),
        "truncated": int(tokens.left_out > 0),
        "left_out": tokens.left_out,
        "chunked": int(len(tokens.chunks) > 1),
        "empty": 0,
    }


def unknown_words(text: str, tokenizer: Tokenizer) -> list[str]:
    """The words of a text, as white space divides it, in which the tokenizer finds something unknown."""
    return [word for word in text.split() if _unknown(tokenizer, encode(word, tokenizer))]


def warning(report: Mapping[str, int], model: str) -> str | None:
    """What is to be said of texts whose words a model does not know; None where it knows enough of them.

    report: the sum of their :func:`counts`.
    """
    unknown, tokens = report.get("unknown", 0), report.get("tokens", 0)
    if unknown <= UNKNOWN_SHARE * tokens:
        return None
    return (
        f"{unknown / tokens:.0%} of the tokens ({unknown:,} of {tokens:,}) are unknown to {model}: its vocabulary has "
        "nothing for them, and to the network they are all the same"
    )


def encode(text: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a text, without special ones: what the tokenizer makes of it, or of one stretch after the other.

    It is taken apart only where the tokenizer makes the same of what stands around the seam, whole and in two. A text
    without such a place is given whole: 10 MB of Chinese without any punctuation take 2 GB, with it 240 MB.
    """
    tokens: list[int] = []
    start = 0
    while (seam := _seam(text, start, tokenizer)) is not None:
        tokens += tokenizer.encode(text[start:seam])
        start = seam
    tokens += tokenizer.encode(text[start:])
    return tokens


def _seam(text: str, start: int, tokenizer: Tokenizer) -> int | None:
    """Where a text may be taken apart, a stretch or more behind ``start``; None where it is to stay in one."""
    for stretch in range(start + STRETCH, len(text) - STRETCH, STRETCH):
        for found in islice(_SEAM.finditer(text, stretch, stretch + STRETCH), _SEAMS_TRIED):
            left, right = _around(text, found.start())
            if [*tokenizer.encode(left), *tokenizer.encode(right)] == list(tokenizer.encode(left + right)):
                return found.start()
    return None


def _around(text: str, place: int) -> tuple[str, str]:
    """What stands before and behind a place, in whole words where spaces divide them."""
    left, right = text[max(0, place - _AROUND_SEAM) : place], text[place : place + _AROUND_SEAM]
    return left[left.find(" ") + 1 :], right[: right.rfind(" ") if " " in right[1:] else None]


def room_for(tokenizer: Tokenizer, max_tokens: int, overlap: int) -> int:
    """How many tokens of a text a chunk holds, between the special ones.

    Raises: UsageError when there is no room for any but those that are shared with a neighbour.
    """
    special = len(tokenizer.prefix) + len(tokenizer.suffix)
    room = max_tokens - special
    if room < 1 or not 0 <= overlap < room:
        raise UsageError(
            f"max_tokens={max_tokens} with {special} special tokens leaves room for {max(0, room)}, "
            f"which must be more than 0 and more than the overlap of {overlap}"
        )
    return room


def _unknown(tokenizer: Tokenizer, content: list[int]) -> int | None:
    if not isinstance(tokenizer, KnowsUnknown):
        return None
    return 0 if tokenizer.unknown is None else content.count(tokenizer.unknown)


def _decoded(source: str | bytes) -> str:
    try:
        # A lone surrogate is what Python puts where bytes are no UTF-8, and no tokenizer takes it.
        return (source.encode("utf-8") if isinstance(source, str) else source).decode("utf-8")
    except UnicodeEncodeError as error:
        raise UnusableError(f"not valid Unicode: a lone surrogate at character {error.start}") from error
    except UnicodeDecodeError as error:
        raise UnusableError(f"not UTF-8: byte {error.object[error.start]:#04x} at position {error.start}") from error
