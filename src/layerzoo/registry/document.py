"""Strict YAML: what a person reads is what he gets, and every value knows its place in the file.

Only ``true``/``false``, ``null``/``~``/nothing, decimal whole numbers and decimal fractions are more than text; ``no``,
``010`` and ``1:30`` stay text. Keys are text and may not repeat. Anchors, aliases and tags are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 4_000_000
"""A file for people is smaller; what is generated belongs into a catalogue, one model a line."""
MAX_DEPTH = 32

Loc = tuple[str | int, ...]
"""The way to a value: the keys of mappings and the positions in lists."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
# More digits than a 64-bit integer surely holds stay text, and are then no number where one is wanted.
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]+([eE][-+]?[0-9]{1,3})?|(?<=[0-9])[eE][-+]?[0-9]{1,3})")


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column in a file, both from 1."""

    line: int
    column: int


class DocumentError(Exception):
    """The text cannot be read as one document."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


@dataclass(frozen=True, slots=True)
class Fault:
    """Something the strict form does not have, in a document that can be read all the same."""

    loc: Loc
    place: Place
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """Plain Python data, and where each piece of it stands."""

    value: Any
    keys: dict[Loc, Place] = field(default_factory=dict)
    values: dict[Loc, Place] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def key_place(self, loc: Loc) -> Place:
        """Where the key that leads to ``loc`` stands; for what is not there, the place of what it would be in."""
        return self.keys.get(loc) or self.value_place(loc)

    def value_place(self, loc: Loc) -> Place:
        """Where the value at ``loc`` stands; for what is not there, the place of what it would be in."""
        while loc and loc not in self.values:
            loc = loc[:-1]
        return self.values.get(loc, Place(1, 1))


def read_document(path: Path) -> Document:
    """The document in a file of UTF-8 text.

    Raises: DocumentError when the text is not of the strict form, OSError when it cannot be read.
    """
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise DocumentError(
            f"the file is larger than {MAX_BYTES // 1_000_000} MB; a large catalogue goes into a models.jsonl, "
            "one model a line, named by `catalogue: models.jsonl`",
            Place(1, 1),
        )
    try:
        return parse_document(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DocumentError("the file is not UTF-8 text", Place(line, 1)) from None


def parse_document(text: str) -> Document:
    """The document in a text. Raises: DocumentError."""
    events = yaml.parse(text, Loader=_LOADER)
    try:
        return _Reader(events).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        raise DocumentError(f"not valid YAML: {error.problem or error.context}", place) from None
    except yaml.YAMLError as error:
        raise DocumentError(f"not valid YAML: {' '.join(str(error).split())}", Place(1, 1)) from None
    except ValueError as error:
        # libyaml decodes escapes such as "\ud800" to what is no text.
        raise DocumentError(f"not valid YAML: {error}", Place(1, 1)) from None


class _Reader:
    """Builds a Document from YAML's events, and notes what the strict form does not have."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._keys: dict[Loc, Place] = {}
        self._values: dict[Loc, Place] = {}
        self._faults: list[Fault] = []

    def document(self) -> Document:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return Document(None)
        value = self._value(next(self._events), ())
        next(self._events)  # the end of the document
        if not isinstance(event := next(self._events), yaml.StreamEndEvent):
            raise DocumentError("a second document begins here; write one a file", _place(event))
        return Document(value, self._keys, self._values, tuple(self._faults))

    def _value(self, event: Any, loc: Loc) -> Any:
        self._values[loc] = _place(event)
        self._note_decoration(event, loc)
        if len(loc) > MAX_DEPTH:
            raise DocumentError(f"nested more than {MAX_DEPTH} deep", _place(event))
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(loc)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(loc)
        return _scalar(event) if isinstance(event, yaml.ScalarEvent) else None

    def _mapping(self, loc: Loc) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = _place(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise DocumentError("a key must be plain text", place)
            key = str(event.value)
            here = (*loc, key)
            self._note_decoration(event, here)
            if key in found:
                first = self._keys[here].line
                self._faults.append(
                    Fault(here, place, f"the key '{key}' stands here a second time, after line {first}")
                )
            self._keys[here] = place
            found[key] = self._value(next(self._events), here)
        return found

    def _sequence(self, loc: Loc) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*loc, len(found))))
        return found

    def _note_decoration(self, event: Any, loc: Loc) -> None:
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            message = (
                f"anchors and aliases (&{event.anchor}, *{event.anchor}) are not part of this format: write it out"
            )
            self._faults.append(Fault(loc, _place(event), message))
        elif event.tag:
            self._faults.append(Fault(loc, _place(event), f"tags ({event.tag}) are not part of this format"))


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.style:  # quoted, or a block of text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _FRACTION.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text
