"""Parse strict YAML, in which values are what they look like, and record the position of each value.

Only ``true``/``false``, ``null``/``~``/nothing, decimal whole numbers and decimal fractions are more than text; ``no``,
``010`` and ``1:30`` stay text. Keys are text and may not repeat. Anchors, aliases, merge keys and tags are refused.
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from layerzoo.registry.format.diagnostics import Code, Lines, Position
from layerzoo.small_files import read_small

MAX_BYTES = 4_000_000
"""Files that people write are smaller. Generated models belong in a catalogue, one model per line."""
MAX_DEPTH = 32

Loc = tuple[str | int, ...]
"""The path of a value: keys of mappings and indices of lists."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
# Longer numbers may not fit into 64 bits. They remain text, and are rejected where a number is required.
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]+([eE][-+]?[0-9]{1,3})?|(?<=[0-9])[eE][-+]?[0-9]{1,3})")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HALF_A_CHARACTER = re.compile(r"\\(u|U0000)[dD][89a-fA-F][0-9a-fA-F]{2}|\\U(?!000|0010)[0-9a-fA-F]{8}")


class DocumentError(Exception):
    """The text cannot be parsed as one document."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class UnreadableError(DocumentError):
    """The file is not text, or too large: it is not a registry file."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A feature of YAML that the strict form does not allow, in a document that can be parsed nevertheless."""

    loc: Loc
    position: Position
    message: str
    code: Code = "syntax"


@dataclass(frozen=True, slots=True)
class Document:
    """Python data, and the position of each value. If a key repeats, the first one is used."""

    value: Any
    keys: dict[Loc, Position] = field(default_factory=dict)
    values: dict[Loc, Position] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def key_position(self, loc: Loc) -> Position:
        """Return the position of the key of ``loc``; if it is missing, that of its parent."""
        return self.keys.get(loc) or self.value_position(loc)

    def value_position(self, loc: Loc) -> Position:
        """Return the position of the value of ``loc``; if it is missing, that of its parent."""
        while loc and loc not in self.values:
            loc = loc[:-1]
        return self.values.get(loc, Position(1, 1))


def read_document(path: Path) -> Document:
    """Parse a file of UTF-8 text.

    Raises: DocumentError if the text cannot be parsed; OSError if the file cannot be read.
    """
    raw = read_registry(path)
    return parse_document(decoded(raw))


def read_registry(path: Path) -> bytes:
    """Read a registry.yaml. Raises: UnreadableError if it is too large, OSError if it cannot be read."""
    try:
        return read_small(path, MAX_BYTES)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise UnreadableError(
            f"the file is larger than {MAX_BYTES // 1_000_000} MB; a large catalogue goes into a models.jsonl, "
            "one model a line, named by `catalogue: models.jsonl`",
            Position(1, 1),
        ) from None


def decoded(raw: bytes, number: int | None = None) -> str:
    """Decode UTF-8 without its byte order mark. ``number`` is that of a single line. Raises: DocumentError."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts bytes after the mark. The bytes before the first wrong one are valid.
        valid_text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
        start = len(error.object[: error.start].removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
        raise UnreadableError(
            "the file is not UTF-8 text", Lines(valid_text, number).position(start, start + 1)
        ) from None


def parse_document(text: str, number: int | None = None) -> Document:
    """Parse a text. ``number`` is that of the line if the text is one line of a file. Raises: DocumentError."""
    lines = Lines(text, number)
    if forbidden := _FORBIDDEN.search(text):
        message = f"the character U+{ord(forbidden[0]):04X} is not allowed in a text file"
        raise UnreadableError(message, lines.position(forbidden.start(), forbidden.end()))
    try:
        return _DocumentBuilder(yaml.parse(text, Loader=_LOADER), lines).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        start = mark.index if mark else 0
        if half := _half_a_character(text, lines, start):
            raise half from None
        message = f"not valid YAML: {_explained(error, lines)}"
        raise DocumentError(message, lines.position(start, start + 1)) from None
    except yaml.YAMLError as error:
        raise DocumentError(f"not valid YAML: {' '.join(str(error).split())}", lines.position(0, 1)) from None
    except UnicodeError:
        # Some versions of libyaml decode escapes such as "\ud800" to lone surrogates.
        raise _half_a_character(text, lines) or DocumentError("not valid Unicode", lines.position(0, 1)) from None


def _explained(error: yaml.MarkedYAMLError, lines: Lines) -> str:
    """Return the parser's message, with the line in which the incomplete structure begins."""
    problem = str(error.problem or error.context)
    if not (error.context and error.problem and error.context_mark):
        return problem
    line = lines.position(error.context_mark.index, error.context_mark.index + 1).line
    return f"{problem}, {error.context} that begins in line {line}"


def _half_a_character(text: str, lines: Lines, at: int | None = None) -> DocumentError | None:
    """Return the error for an escape of half a character; None where there is none.

    at: an index within the escape; None for the first escape of the text.
    """
    escapes = _HALF_A_CHARACTER.finditer(text)
    escape = next((match for match in escapes if at is None or match.start() <= at < match.end()), None)
    if escape is None:
        return None
    return DocumentError(
        "half a character: YAML wants \\U0001f600 for \\ud83d\\ude00, or the character itself",
        lines.position(*escape.span()),
    )


class _DocumentBuilder:
    """Builds a Document from YAML's events, and records features that the strict form does not allow."""

    def __init__(self, events: Iterator[Any], lines: Lines) -> None:
        self._events = events
        self._lines = lines
        self._keys: dict[Loc, Position] = {}
        self._values: dict[Loc, Position] = {}
        self._faults: list[Fault] = []

    def document(self) -> Document:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return Document(None, values={(): self._lines.position(0, 1)})
        value = self._value(next(self._events), ())
        next(self._events)  # the end of the document
        if not isinstance(event := next(self._events), yaml.StreamEndEvent):
            raise DocumentError("a second document begins here; write one a file", self._position(event))
        return Document(value, self._keys, self._values, tuple(self._faults))

    def _value(self, event: Any, loc: Loc) -> Any:
        self._check_decoration(event, loc)
        if len(loc) > MAX_DEPTH:
            raise DocumentError(f"nested more than {MAX_DEPTH} deep", self._position(event))
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, loc)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, loc)
        is_empty = event.start_mark.index == event.end_mark.index
        # A missing value is marked at its key.
        self._values[loc] = self._keys[loc] if is_empty and loc in self._keys else self._position(event)
        return _scalar(event) if isinstance(event, yaml.ScalarEvent) else None

    def _mapping(self, start: Any, loc: Loc) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            position = self._position(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise DocumentError("a key must be plain text", position)
            key = str(event.value)
            key_loc = (*loc, key)
            self._check_decoration(event, key_loc)
            if key in mapping:
                first = self._keys[key_loc].line
                message = f"the key '{key}' is declared a second time here, after line {first}"
                self._faults.append(Fault(key_loc, position, message, "duplicate"))
                self._skip_value()
            elif key == "<<" and not event.style:
                message = (
                    "merge keys (<<) are not part of this format: write it out, or inherit from a model with `base:`"
                )
                self._faults.append(Fault(key_loc, position, message))
                self._skip_value()
            else:
                self._keys[key_loc] = position
                mapping[key] = self._value(next(self._events), key_loc)
        self._values[loc] = self._span(start, event)
        return mapping

    def _sequence(self, start: Any, loc: Loc) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*loc, len(items))))
        self._values[loc] = self._span(start, event)
        return items

    def _skip_value(self) -> None:
        depth = 0
        while True:
            event = next(self._events)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth == 0:
                return

    def _check_decoration(self, event: Any, loc: Loc) -> None:
        if isinstance(event, yaml.AliasEvent):
            message = f"aliases (*{event.anchor}) are not part of this format: write out its value"
        elif event.anchor:
            message = f"anchors (&{event.anchor}) are not part of this format: leave it out"
        elif event.tag:
            message = f"tags ({event.tag}) are not part of this format: leave it out, or put quotes around the text"
        else:
            return
        self._faults.append(Fault(loc, self._position(event), message))

    def _position(self, event: Any) -> Position:
        return self._span(event, event)

    def _span(self, first: Any, last: Any) -> Position:
        return self._lines.position(first.start_mark.index, last.end_mark.index)


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.style:  # quoted, or a block scalar
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _FRACTION.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text
