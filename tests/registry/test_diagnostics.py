"""A diagnostic as one line, and with the marked source line."""

from __future__ import annotations

import pytest

from layerzoo.registry.format.diagnostics import Diagnostic, Lines, Position


def _marked(text: str, start: int, stop: int) -> list[str]:
    place = Lines(text).position(start, stop)
    return Diagnostic.at(place, path="f.yaml", code="syntax", message="wrong").marked().split("\n")


def test_a_diagnostic_is_one_line_that_ends_with_its_code() -> None:
    diagnostic = Diagnostic(path="f.yaml", line=3, column=5, code="syntax", message="wrong")
    assert str(diagnostic) == "f.yaml:3:5: wrong"
    assert diagnostic.marked() == "f.yaml:3:5: wrong  [syntax]"


def test_the_marker_is_below_the_mistake() -> None:
    assert _marked("a: 1\nkey: value\n", 10, 15) == [
        "f.yaml:2:6: wrong  [syntax]",
        "    2 | key: value",
        "      |      ^^^^^",
    ]


def test_tabs_and_wide_characters_keep_the_marker_aligned() -> None:
    assert _marked("\tx: 漢字\n", 4, 6)[1:] == ["    1 | \tx: 漢字", "      | \t   ^^^^"]


def test_control_characters_are_not_printed() -> None:
    assert _marked("a: \x1b[2J b\n", 8, 9)[1:] == ["    1 | a: �[2J b", "      |         ^"]


def test_a_very_long_line_is_shortened_around_the_mistake() -> None:
    place = Lines("x" * 50_000 + "wrong" + "y" * 50_000).position(50_000, 50_005)
    diagnostic = Diagnostic.at(place, path="f", code="syntax", message="m")
    assert (diagnostic.column, diagnostic.length, len(diagnostic.text)) == (50_001, 5, 120)
    _, line, marker = diagnostic.marked().split("\n")
    assert line[marker.index("^") : marker.rindex("^") + 1] == "wrong"


@pytest.mark.parametrize(
    ("text", "start", "stop", "place"),
    [
        ("", 0, 1, Position(1, 1)),
        ("abc\n", 9, 10, Position(1, 3)),
        ("abc\n\n\n", 5, 6, Position(1, 3)),
        ("a\r\nbc\rd\n", 3, 5, Position(2, 1, 2)),
        ("a\r\nbc\rd\n", 6, 7, Position(3, 1)),
        ("a: {b: 1,\n c: 2}\n", 3, 17, Position(1, 4, 6)),
        ("abc  \ndef", 0, 9, Position(1, 1, 3)),
        ("\n\n", 1, 2, Position(1, 1)),
    ],
)
def test_a_position_is_within_its_line(text: str, start: int, stop: int, place: Position) -> None:
    assert Lines(text).position(start, stop) == place
