"""Text that cannot drive a terminal. File names, headers, registries and libraries' messages may hold anything.

Whatever a terminal would obey, hide or reorder is shown as the escape that Python writes for it: ``\\x1b[31m``,
``\\u202e``, ``\\udce9``. These are the controls of ASCII and Latin-1, line and paragraph separators, format characters
(directions, zero-width characters, tags), unpaired surrogates (bytes of a file name that are not UTF-8), and letters
that are defined to be invisible.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from typing import TextIO

_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and marks that Unicode calls Default_Ignorable_Code_Point, and the blank of Braille.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")

_LOOKALIKES = str.maketrans(
    {"×": "x", "…": "...", "→": "->", "≠": "!=", "≤": "<=", "─": "-", "–": "-", "’": "'", "·": "-"}
)
_LOOKALIKE_ERRORS = "layerzoo.lookalike"


def printable(text: str) -> str:
    """Return a text on one line, for a cell of a table or a sentence: line breaks and tabs become spaces."""
    if _is_harmless(text):
        return text
    return printable_name(re.sub(r"\r\n|[\n\r\t\v\f\x85\u2028\u2029]", " ", text))


def printable_name(text: str) -> str:
    """Return a name on one line, with line breaks and tabs as escapes, so that two names never look the same.

    A file may be called ``a.jpg<newline>failed: b.jpg``, and must not look like two lines of a report.
    """
    return text if _is_harmless(text) else "".join(map(_escape_character, text))


def printable_lines(text: str) -> str:
    """Return a text with its line breaks left in."""
    if _is_harmless(text):
        return text
    return "\n".join(printable_name(line.replace("\t", " ")) for line in text.replace("\r\n", "\n").split("\n"))


def printable_json(text: str) -> str:
    """Return JSON that means the same, with the characters that JSON allows in strings written as escapes."""
    if _is_harmless(text):
        return text
    return "".join(
        character if character == "\n" or not _drives(character) else json.dumps(character)[1:-1] for character in text
    )


def shorten(text: str, longest: int) -> str:
    """Return the beginning of a text, with an ellipsis where more follows.

    Args:
        text: any text.
        longest: how many characters are kept.
    """
    return text if len(text) <= longest else f"{text[:longest]}…"


def speaks_unicode(stream: TextIO) -> bool:
    """Return whether every character can be written to a stream."""
    return codecs.lookup(stream.encoding or "ascii").name.startswith("utf")


def print_anything(stream: TextIO) -> None:
    """Let a stream take text that its encoding does not have: a lookalike where there is one, else an escape."""
    if isinstance(stream, io.TextIOWrapper):
        codecs.register_error(_LOOKALIKE_ERRORS, _lookalike)
        stream.reconfigure(errors=_LOOKALIKE_ERRORS)


def _is_harmless(text: str) -> bool:
    return text.isascii() and text.isprintable()  # nearly all of what is printed; the rest takes longer


def _drives(character: str) -> bool:
    import unicodedata

    return unicodedata.category(character) in _ESCAPED_CATEGORIES or character in _INVISIBLE


def _escape_character(character: str) -> str:
    # repr() escapes all of these but the letters.
    if not _drives(character):
        return character
    escaped = repr(character)[1:-1]
    return escaped if escaped != character else f"\\u{ord(character):04x}"


def _lookalike(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    translated = error.object[error.start : error.end].translate(_LOOKALIKES)
    return translated.encode("ascii", "backslashreplace").decode("ascii"), error.end
