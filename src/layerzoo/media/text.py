"""Texts: from bytes to str, and from str to the tokens that a language network takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol, TypeGuard, runtime_checkable

from layerzoo.errors import EmptySampleError, SampleError, UsageError
from layerzoo.media.limits import limits
from layerzoo.media.sample import UnusableError, failing_as

__all__ = ["KnowsUnknown", "TensorTokenizer", "TextArguments", "Tokenizer"]

OVERLAP_SHARE = 1 / 8
"""The fraction of a chunk that it shares with each neighbour by default."""

UNKNOWN_SHARE = 0.03
"""The fraction of unknown tokens above which a warning is logged.

Through a vocabulary of English: 0.001 of 37,185 tweets, 0.01 of those with emoji, 0.027 of those with more than a tenth
of other characters than ASCII; and 0.04 of Korean, 0.14 of Hindi, 0.15 of Japanese, 0.66 of Chinese, all of Thai.
"""
SEGMENT = 100_000
"""The number of characters above which a text is split for its tokenizer, whose memory is hundreds of times the size of
a text."""
_SEAM = re.compile(r"(?<=\w)(?=\s\w)|(?<=[^\w\s])(?=\w)")
"""Positions at which a text may be split: before the space between two words, or after a full stop."""
_AROUND_SEAM = 200
_SEAMS_TRIED = 20


@dataclass(frozen=True, slots=True)
class TextArguments:
    """The names of the arguments of a network's ``forward`` that take a tokenised text.

    ids: the token ids, (batch, token).
    mask: the attention mask, (batch, token), 1 for tokens of the text and 0 for padding. None: the network takes none.
    prompt_length: the number of tokens at the start of each row that belong to a prompt and are not pooled, (batch, 1).
        None: the network takes none.
    """

    ids: str
    mask: str | None = None
    prompt_length: str | None = None


@runtime_checkable
class Tokenizer(Protocol):
    """The tokenizer of a text model, as a plugin returns it from the hook ``layerzoo_preprocess``."""

    @property
    def arguments(self) -> TextArguments:
        """The names of the arguments of the network that take a text. A single input is passed by position."""

    @property
    def prefix(self) -> Sequence[int]:
        """The special tokens before every sequence, such as [CLS]."""

    @property
    def suffix(self) -> Sequence[int]:
        """The special tokens after every sequence, such as [SEP]."""

    @property
    def pad(self) -> int:
        """The padding token."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text without special tokens."""


TOKENIZER_MEMBERS = ("arguments", "prefix", "suffix", "pad", "encode")
"""The members that every tokenizer has."""


@runtime_checkable
class KnowsUnknown(Tokenizer, Protocol):
    """A tokenizer with a token for unknown words. Such tokens are counted, and many of them cause a warning."""

    @property
    def unknown(self) -> int | None:
        """The id of the token for unknown words; None if there are no unknown words, as with a vocabulary of bytes."""


@runtime_checkable
class TensorTokenizer(Tokenizer, Protocol):
    """A tokenizer that returns every tensor its network takes, for networks that take more than token ids."""

    @property
    def pads(self) -> Mapping[str, int]:
        """The padding value of each tensor of the network, by the name of its argument, with that of the attention mask
        if the network takes one."""

    @property
    def padding_side(self) -> Literal["left", "right"]:
        """The side on which a text is padded to the longest input, for a network that was trained so. A tokenizer with
        an attribute ``returns_mask`` that is true passes an attention mask with it; any other passes none."""

    @property
    def truncation_side(self) -> Literal["left", "right"]:
        """The side on which tokens of a text that is too long are dropped."""

    @property
    def cuts_plainly(self) -> bool:
        """Whether truncation drops tokens at one end, between the special ones, and changes nothing else. Otherwise
        a text that is too long is tokenised a second time."""

    def tensors(self, text: str, max_tokens: int | None = None) -> Mapping[str, Sequence[int]]:
        """Tokenise a text.

        Args:
            text: a checked text.
            max_tokens: the longest sequence, including special tokens. None truncates nothing.

        Returns: by the name of the network's argument, an integer for each token, including the special tokens
            ``prefix`` and ``suffix``. The token ids are among them; an attention mask of ones is not. Without padding.
        """


def gives_tensors(tokenizer: Tokenizer) -> TypeGuard[TensorTokenizer]:
    """Return whether a tokenizer is a TensorTokenizer. Checked for every text, for which isinstance is too slow.

    Args:
        tokenizer: a plugin's.
    """
    return hasattr(tokenizer, "tensors")


def returns_mask(tokenizer: Tokenizer) -> bool:
    """Return whether a tokenizer returns an attention mask for a padded text, by its attribute ``returns_mask``.

    Args:
        tokenizer: a plugin's.
    """
    return bool(getattr(tokenizer, "returns_mask", False))


class Chunk(NamedTuple):
    """A part of a text as input of the network.

    Attributes:
        ids: at most max_tokens, including special tokens.
        span: the positions whose features belong to this chunk. The others are tokens of a neighbouring chunk, and
            special tokens that are not at an end of the text.
        special: the number of special tokens before and after the tokens of the text.
        extra_inputs: further inputs of the network for the same positions, by the name of the argument.
    """

    ids: list[int]
    span: tuple[int, int]
    special: tuple[int, int] = (0, 0)
    extra_inputs: Mapping[str, Sequence[int]] = MappingProxyType({})


class Tokens(NamedTuple):
    """A text as input of the network.

    Attributes:
        chunks: a single one without chunking. Their spans, concatenated, are the text between its special tokens.
        total: the number of tokens of the text, without special tokens.
        unknown: the number of unknown tokens among them; None if the tokenizer has no token for unknown words.
        left_out: the number of tokens that are in no chunk.
    """

    chunks: list[Chunk]
    total: int
    unknown: int | None
    left_out: int


def decode(source: str | bytes) -> str:
    """Return a checked text.

    Args:
        source: a text, or its UTF-8 bytes.
    Raises: EmptySampleError if it is empty or only white space; SampleError if it is not valid Unicode.
    """
    with failing_as("text"):
        if not isinstance(source, str | bytes):
            raise UnusableError(f"cannot read a text of type {type(source).__name__}. Pass a str or UTF-8 bytes")
        is_long = len(source) > SEGMENT  # a short text need not be compared with the limits, which takes 5 µs
        if is_long and len(source) > 4 * limits().text_characters:
            raise _too_long()
        text = _decoded(source)
        if is_long and len(text) > limits().text_characters:
            raise _too_long()
    if not text.strip():
        raise EmptySampleError("text", "empty text")
    return text


def tokenise(text: str, tokenizer: Tokenizer, max_tokens: int, *, overlap: int | None = None) -> Tokens:
    """Tokenise a text, with the special tokens around it.

    Args:
        text: a checked text.
        tokenizer: a plugin's. A :class:`TensorTokenizer` says on which side a text is truncated; others truncate on
            the right.
        max_tokens: the longest sequence, including special tokens.
        overlap: None truncates a text that is too long, as transformers' ``truncation=True`` does, and counts it. A
            number splits it into consecutive chunks. Neighbours share that many tokens.

    Raises: EmptySampleError when there are no tokens at all; UsageError when max_tokens leaves no room for any.
    """
    before, after = len(tokenizer.prefix), len(tokenizer.suffix)
    room = room_for(tokenizer, max_tokens, overlap or 0)
    all_tokens = _untruncated(text, tokenizer)
    token_ids = all_tokens[tokenizer.arguments.ids]
    content = token_ids[before : len(token_ids) - after]
    if not content:
        raise EmptySampleError("text", "no tokens: the tokenizer makes nothing of it")

    def chunk(start: int, span: tuple[int, int] | None = None) -> Chunk:
        cut = {name: _cut(values, before, after, start, start + room) for name, values in all_tokens.items()}
        ids = cut.pop(tokenizer.arguments.ids)
        return Chunk(ids, span or (0, len(ids)), (before, after), MappingProxyType(cut))

    if overlap is None:
        dropped = max(0, len(content) - room)
        if dropped and gives_tensors(tokenizer) and not tokenizer.cuts_plainly:
            cut = {name: list(values) for name, values in tokenizer.tensors(text, max_tokens).items()}
            ids = cut.pop(tokenizer.arguments.ids)
            chunks = [Chunk(ids, (0, len(ids)), (before, after), MappingProxyType(cut))]
        else:
            from_left = gives_tensors(tokenizer) and tokenizer.truncation_side == "left"
            chunks = [chunk(dropped if from_left else 0)]
        return Tokens(chunks, total=len(content), unknown=_unknown(tokenizer, content), left_out=dropped)
    starts = range(0, max(1, len(content) - overlap), room - overlap)
    first = before + overlap // 2
    chunks = []
    for start in starts:
        length = before + min(room, len(content) - start) + after
        chunks.append(chunk(start, (first if start else 0, length if start == starts[-1] else first + starts.step)))
    return Tokens(chunks, total=len(content), unknown=_unknown(tokenizer, content), left_out=0)


def _untruncated(text: str, tokenizer: Tokenizer) -> Mapping[str, list[int]]:
    """Return every tensor of a text that is not truncated, including special tokens, by the name of its argument."""
    if not gives_tensors(tokenizer):
        return {tokenizer.arguments.ids: [*tokenizer.prefix, *encode(text, tokenizer), *tokenizer.suffix]}
    segments = [tokenizer.tensors(segment) for segment in _segments(text, tokenizer)]
    if len(segments) == 1:
        return {name: list(values) for name, values in segments[0].items()}
    before, after = len(tokenizer.prefix), len(tokenizer.suffix)
    return {
        name: [
            *segments[0][name][:before],
            *(value for tensors in segments for value in tensors[name][before : len(tensors[name]) - after]),
            *segments[-1][name][len(segments[-1][name]) - after :],
        ]
        for name in segments[0]
    }


def _cut(values: list[int], before: int, after: int, start: int, stop: int) -> list[int]:
    """Return some tokens of a text between its special tokens. start, stop: counted without special tokens."""
    end = len(values) - after
    if start == 0 and before + stop >= end:
        return values
    return [*values[:before], *values[before + start : min(before + stop, end)], *values[end:]]


def counts(text: str, tokens: Tokens) -> dict[str, int]:
    """Return the counts of a text, which can be summed over texts.

    Args:
        text: the text.
        tokens: its tokens.
    Returns: the number of its words (divided by white space), tokens and unknown tokens; 1 if it was truncated, the
        number of tokens left out, 1 if it was split into chunks.
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
    """Return the words of a text, divided by white space, that have an unknown token.

    Args:
        text: a checked text.
        tokenizer: a plugin's.
    """
    return [word for word in text.split() if _unknown(tokenizer, encode(word, tokenizer))]


def warning(report: Mapping[str, int], model: str) -> str | None:
    """Return a warning about texts with many unknown tokens; None if there are few.

    Args:
        report: the sum of their :func:`counts`.
        model: the id of the model.
    """
    unknown, tokens = report.get("unknown", 0), report.get("tokens", 0)
    if unknown <= UNKNOWN_SHARE * tokens:
        return None
    return (
        f"{unknown / tokens:.0%} of the tokens ({unknown:,} of {tokens:,}) are unknown to {model}: they are missing "
        "from its vocabulary, and the network cannot distinguish them"
    )


def encode(text: str, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a text without special tokens. A long text is tokenized in segments.

    Args:
        text: a checked text.
        tokenizer: a plugin's.
    """
    return [token for segment in _segments(text, tokenizer) for token in tokenizer.encode(segment)]


def _segments(text: str, tokenizer: Tokenizer) -> Iterator[str]:
    """Split a long text into segments.

    A text is split only at positions where the tokenizer returns the same tokens for the text around the position,
    whole and in two parts. Otherwise it is not split: 10 MB of Chinese without punctuation take 2 GB, with it 240 MB.
    """
    start = 0
    while (seam := _seam(text, start, tokenizer)) is not None:
        yield text[start:seam]
        start = seam
    remaining = len(text) - start
    if remaining > SEGMENT and remaining > (most := limits().unbroken_characters):
        raise SampleError(
            "text",
            f"more than {most:,} characters without a space or a punctuation mark, which is the limit. Next: split it",
        )
    yield text[start:]


def _seam(text: str, start: int, tokenizer: Tokenizer) -> int | None:
    """Return a position to split a text at, at least a segment after ``start``; None if there is none."""
    for begin in range(start + SEGMENT, len(text) - SEGMENT, SEGMENT):
        for match in islice(_SEAM.finditer(text, begin, begin + SEGMENT), _SEAMS_TRIED):
            left, right = _around(text, match.start())
            if [*tokenizer.encode(left), *tokenizer.encode(right)] == list(tokenizer.encode(left + right)):
                return match.start()
    return None


def _around(text: str, place: int) -> tuple[str, str]:
    """Return the text before and after a position, in whole words if spaces divide them."""
    left, right = text[max(0, place - _AROUND_SEAM) : place], text[place : place + _AROUND_SEAM]
    return left[left.find(" ") + 1 :], right[: right.rfind(" ") if " " in right[1:] else None]


def room_for(tokenizer: Tokenizer, max_tokens: int, overlap: int) -> int:
    """Return the number of tokens of a text in a chunk, without special tokens.

    Args:
        tokenizer: a plugin's.
        max_tokens: the longest sequence, including special tokens.
        overlap: the number of tokens that neighbouring chunks share.
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
    if not _knows_unknown(tokenizer):
        return None
    return 0 if tokenizer.unknown is None else content.count(tokenizer.unknown)


def _knows_unknown(tokenizer: Tokenizer) -> TypeGuard[KnowsUnknown]:
    """Return whether a tokenizer is a KnowsUnknown. Checked for every text, for which isinstance is too slow."""
    return hasattr(tokenizer, "unknown")


def _too_long() -> UnusableError:
    return UnusableError(
        f"more than {limits().text_characters:,} characters, which is the limit of a text. Next: split it"
    )


def _decoded(source: str | bytes) -> str:
    try:
        # Python puts a lone surrogate where bytes are not UTF-8, and no tokenizer accepts it.
        return (source.encode("utf-8") if isinstance(source, str) else source).decode("utf-8")
    except UnicodeEncodeError as error:
        raise UnusableError(f"not valid Unicode: a lone surrogate at character {error.start}") from error
    except UnicodeDecodeError as error:
        raise UnusableError(f"not UTF-8: byte {error.object[error.start]:#04x} at position {error.start}") from error
