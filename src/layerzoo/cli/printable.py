"""Text that cannot drive a terminal. What is printed comes from files of others, and may hold anything."""

from __future__ import annotations

import codecs
import io
import re
from typing import TextIO

# Patterns are left to be compiled where one is needed: most text has nothing to take out, and a start is to be quick.
# What ECMA-48 calls control sequences (colours, moves of the cursor) and strings (titles, links, the clipboard).
_SEQUENCE = r"(?s)(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x1b\\|\x07|\x9c|$)"
_ESCAPE = r"\x1b[ -/]*[0-~]?"
# The rest of the controls, and the marks that make text run in the other direction than it is written.
_MARKS = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_CONTROL = rf"[\x00-\x09\x0b-\x1f{_MARKS}]"

_LOOKALIKES = str.maketrans(
    {"×": "x", "…": "...", "→": "->", "≠": "!=", "≤": "<=", "─": "-", "–": "-", "’": "'", "·": "-"}
)
_LOOKALIKE_ERRORS = "layerzoo.lookalike"


def printable(text: str) -> str:
    """The text without whatever a terminal would obey, on one line."""
    return printable_lines(text).replace("\n", " ")


def printable_lines(text: str) -> str:
    """As :func:`printable`, with the line breaks left in."""
    if text.isprintable():
        return text
    text = re.sub(_SEQUENCE, "", text.replace("\r\n", "\n"))
    return re.sub(_CONTROL, " ", re.sub(_ESCAPE, "", text))


def printable_json(text: str) -> str:
    """JSON that says the same, with the controls that JSON allows in strings written as escapes."""
    if text.isprintable():
        return text
    return re.sub(rf"[{_MARKS}]", lambda found: f"\\u{ord(found[0]):04x}", text)


def speaks_unicode(stream: TextIO) -> bool:
    """Whether every character can be written to a stream."""
    return codecs.lookup(stream.encoding or "ascii").name.startswith("utf")


def print_anything(stream: TextIO) -> None:
    """Let a stream take text that its encoding does not have: a lookalike where there is one, else an escape."""
    if isinstance(stream, io.TextIOWrapper):
        codecs.register_error(_LOOKALIKE_ERRORS, _lookalike)
        stream.reconfigure(errors=_LOOKALIKE_ERRORS)


def _lookalike(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    alike = error.object[error.start : error.end].translate(_LOOKALIKES)
    return alike.encode("ascii", "backslashreplace").decode("ascii"), error.end
