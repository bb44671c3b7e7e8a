"""Tables fit the given width, and names are never shortened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from layerzoo.cli.table import Table, fact_lines, terminal_width

NAMES = st.text(st.sampled_from("abc/.@-é漢"), min_size=1, max_size=60)
CELLS = st.none() | st.integers(0, 10**9) | st.text(max_size=60) | st.just("一二三 four five\x1b[31m six")
ROWS = st.integers(0, 6).flatmap(lambda more: st.lists(st.tuples(NAMES, *[CELLS] * more), max_size=8))


def lines(headings: list[str], rows: list[list[object]], width: int) -> list[str]:
    return list(Table(headings, rows, width=width).lines(ruled=False))


@given(rows=ROWS, width=st.integers(40, 300), squeeze=st.booleans())
def test_no_line_is_wider_than_the_terminal_unless_a_single_name_is(
    rows: list[tuple[object, ...]], width: int, squeeze: bool
) -> None:
    headings = ["name", "kind", "params", "a longer one", "x", "license", "summary"][: len(rows[0]) if rows else 3]
    table = Table(headings, rows, width=width, squeeze=squeeze)
    names = [str(cells[0]) for cells in rows]
    shown = list(table.lines(ruled=True))
    assert all(cell_len(line) <= width or line in names for line in shown)
    for name in names:
        assert any(line == name or line.startswith(f"{name} ") for line in shown)


def test_a_wide_terminal_shows_one_line_per_row() -> None:
    assert lines(["model", "params", "license"], [["a/b", "4.65M", "mit"], ["a/long", "950", None]], 40) == [
        "model   params  license",
        "a/b      4.65M  mit",
        "a/long     950",
    ]


def test_numbers_are_right_aligned_and_text_that_looks_like_numbers_is_not() -> None:
    assert lines(["m", "depth", "version"], [["a", "0.5", "1.0.31"], ["b", "12.25", "2"]], 60) == [
        "m  depth  version",
        "a    0.5  1.0.31",
        "b  12.25  2",
    ]


def test_text_is_wrapped_before_a_column_is_dropped() -> None:
    table = Table(["model", "summary"], [["acme/one", "small words that are many more than fit here"]], width=40)
    assert table.left_out == []
    assert list(table.lines(ruled=False)) == [
        "model     summary",
        "acme/one  small words that are many more",
        "          than fit here",
    ]


def test_the_last_columns_are_dropped_and_named() -> None:
    table = Table(["model", "params", "license", "plugin"], [["acme/" + "n" * 14, 1, "x" * 20, "y" * 20]], width=40)
    assert table.left_out == ["license", "plugin"]


def test_a_few_long_names_have_separate_lines() -> None:
    name = "acme/" + "long" * 10
    assert lines(["model", "kind"], [["acme/a", "x"], [name, "y"]], 40) == [
        "model                 kind",
        "acme/a                x",
        name,
        "                      y",
    ]


def test_an_empty_column_is_dropped() -> None:
    assert lines(["model", "license"], [["a", None]], 40) == ["model", "a"]


def test_facts_are_wrapped_between_words_and_a_long_word_is_not_split() -> None:
    url = "https://" + "x" * 60
    shown = list(fact_lines([("weights", url), ("summary", "one two three four five six")], width=40))
    assert shown == [f"weights  {url}", "summary  one two three four five six"]
    assert list(fact_lines([("summary", "one two three")], width=18)) == ["summary  one two", "         three"]


@pytest.mark.parametrize(("columns", "width"), [("100", 100), ("0", None), ("wide", None), ("", None)])
def test_the_environment_variable_columns_sets_the_width(
    monkeypatch: pytest.MonkeyPatch, columns: str, width: int | None
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    without = terminal_width()
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal_width() == (without if width is None else width)
