"""Words of ids and summaries, and what a search for some of them asks SQLite's full-text index for.

Letters and digits are words of their own, so that ``resnet50``, ``resnet-50`` and ``ResNet 50`` are all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PIECE = re.compile(r"[^\W\d_]+|\d+")
MAX_PIECES = 32
"""How many different runs of letters and of digits a search may have."""


def pieces(text: str) -> list[str]:
    """The runs of letters and of digits: ``vit_b16`` is vit, b, 16."""
    return _PIECE.findall(text)


@dataclass(frozen=True, slots=True)
class Match:
    """A question to the full-text index."""

    words: str | None = None
    """To the table ``words``, of ids, summaries and facts, which knows no order of words."""
    names: str | None = None
    """To the table ``names``, of ids alone. Where both are asked, both must have the row."""


def matches(text: str) -> list[Match]:
    """Questions, the best answers first; none where the text has no word.

    Every word must begin a word of the row. First come whole words of the id, then beginnings of words of the id, ids
    that have some of the words, whole words of the summary, beginnings of them, and the rest. The last has all that any
    of the others has.
    """
    words = [found for word in dict.fromkeys(text.split()) if (found := pieces(word))]
    if not words:
        return []
    begun = [f"{_phrase(word)} *" for word in words]
    whole = " AND ".join(f'"{piece}"' for piece in dict.fromkeys(piece for word in words for piece in word))
    anywhere = _anywhere(text)
    return [
        Match(names=" AND ".join(map(_phrase, words))),
        Match(names=" AND ".join(begun)),
        Match(names=" OR ".join(begun), words=anywhere),
        Match(words=f"{{id summary}} : ({whole})"),
        Match(words=f"{{id summary}} : ({anywhere})"),
        Match(words=anywhere),
    ]


def match(text: str) -> Match | None:
    """One question for all that :func:`matches` asks for, in no order."""
    return Match(words=_anywhere(text)) if pieces(text) else None


def similar(text: str) -> str | None:
    """A question to the table ``names`` for what shares the beginning of a word; None where the text has no word."""
    some = dict.fromkeys(piece[:3] for piece in pieces(text)[:MAX_PIECES])
    return " OR ".join(f'"{piece}" *' for piece in some) or None


def _anywhere(text: str) -> str:
    return " AND ".join(f'"{piece}" *' for piece in dict.fromkeys(pieces(text)))


def _phrase(word: list[str]) -> str:
    """The pieces of a word one after the other. They hold letters and digits alone: nothing can end the quotes."""
    return f'"{" ".join(word)}"'
