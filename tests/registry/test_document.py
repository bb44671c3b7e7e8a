"""Strict YAML: values are what they look like."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from layerzoo.registry.format.document import (
    MAX_DEPTH,
    Document,
    DocumentError,
    Position,
    parse_document,
    read_document,
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("True", "True"),
        ("9" * 40, "9" * 40),
        ("'3'", "3"),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("0.9", 0.9),
        (".5", 0.5),
        ("1e-5", 1e-5),
        ("1.5e3", 1500.0),
    ],
)
def test_scalars_have_the_expected_types(written: str, meant: Any) -> None:
    value = parse_document(f"key: {written}\n").value["key"]
    assert value == meant
    assert type(value) is type(meant)


def test_every_key_and_value_has_a_position() -> None:
    document = parse_document("models:\n  net:\n    mean: [1, 2]\n")
    assert document.key_position(("models", "net", "mean")) == Position(3, 5, 4)
    assert document.value_position(("models", "net", "mean", 1)) == Position(3, 15)


def test_a_missing_key_has_the_position_of_its_parent() -> None:
    document = parse_document("models:\n  net: {a: 1}\n")
    assert document.key_position(("models", "net", "builder")) == Position(2, 8, 6)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", Position(3, 1), "second time here, after line 1"),
        ("a: &x [1]\n", Position(1, 4, 4), "anchors"),
        ("a: &x [1]\nb: *x\n", Position(2, 4, 2), "aliases"),
        ("a: {b: 1}\nc:\n  <<: {b: 2}\n", Position(3, 3, 2), "merge keys"),
        ("a: !!str 3\n", Position(1, 4, 7), "tags"),
        ("a: !python/object:os.system x\n", Position(1, 4, 26), "tags"),
    ],
)
def test_yaml_features_outside_the_strict_form_are_errors_with_a_position(
    text: str, place: Position, words: str
) -> None:
    fault = parse_document(text).faults[-1]
    assert fault.position == place
    assert words in fault.message


@pytest.mark.parametrize("key", ["1", "true", "null", "~", "010", "1.5", "2024-01-01"])
def test_every_key_is_text(key: str) -> None:
    assert parse_document(f"{key}: x\n").value == {key: "x"}


def test_the_first_of_duplicate_keys_is_used() -> None:
    assert parse_document("a: {b: 1}\nc: 2\na: {b: *x, d: [3]}\n").value == {"a": {"b": 1}, "c": 2}


def test_windows_line_endings_keep_positions() -> None:
    assert parse_document("a: 1\r\nb: two\r\n").value_position(("b",)) == Position(2, 4, 3)


@pytest.mark.parametrize(("text", "value"), [("", None), ("# nothing\n", None), ("- a\n", ["a"]), ("a", "a")])
def test_a_document_need_not_be_a_mapping(text: str, value: Any) -> None:
    assert parse_document(text).value == value


def test_a_missing_value_is_marked_at_its_key() -> None:
    assert parse_document("a: 1\nlicense:\n").value_position(("license",)) == Position(2, 1, 7)


def test_an_unclosed_structure_is_reported_at_its_beginning() -> None:
    with pytest.raises(DocumentError, match=r"a flow sequence that begins in line 2") as caught:
        parse_document("a: 1\nb: [c\n\n")
    assert caught.value.position == Position(2, 5)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: \x00\n", Position(2, 4), "U\\+0000"),
        ("a: \ud800\n", Position(1, 4), "U\\+D800"),
        ('a: "\\ud83d\\ude00"\n', Position(1, 5, 6), "half a character"),
        ("a: 1\n---\nb: 2\n", Position(2, 1, 3), "second document"),
        ("a: 1\n? [b]\n: 2\n", Position(2, 3), "key must be plain text"),
        ("a: 1\n\tb: 2\n", Position(2, 1), "tab"),
    ],
)
def test_a_syntax_error_has_a_position(text: str, place: Position, words: str) -> None:
    with pytest.raises(DocumentError, match=words) as caught:
        parse_document(text)
    assert caught.value.position == place


def test_all_errors_of_a_document_are_reported_together() -> None:
    assert len(parse_document("a: 1\na: 2\nb: !!int 3\nc: &x 4\n").faults) == 3


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: 1\n---\nb: 2\n",
        "? [a]\n: 1\n",
        "a: \x01\n",
        "\ta: 1",
        'a: "\\ud800"',
        "[" * 100_000,
        "a: " * 3,
        "%YAML 9.9\n---\n",
    ],
)
def test_an_invalid_text_is_reported_with_a_position(text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_document(text)
    assert caught.value.position.line >= 1


def test_the_nesting_depth_is_limited() -> None:
    with pytest.raises(DocumentError, match=f"more than {MAX_DEPTH} deep"):
        parse_document("a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_bytes(b"# " + b"x" * 5_000_000)
    with pytest.raises(DocumentError, match="larger than"):
        read_document(path)


def test_the_error_for_a_file_that_is_not_utf_8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(DocumentError, match="UTF-8") as caught:
        read_document(path)
    assert caught.value.position == Position(2, 4)
    assert caught.value.position.text == "b: \ufffd"


def test_a_byte_order_mark_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_bytes("a: 1\n".encode("utf-8-sig"))
    assert read_document(path).value == {"a": 1}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(),
    # YAML writes a key of more than 1,024 characters differently from JSON.
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=500), inner, max_size=3),
    max_leaves=10,
)


@given(PLAIN)
def test_json_is_parsed_as_json(value: Any) -> None:
    try:
        document = parse_document(json.dumps(value, ensure_ascii=True))
    except DocumentError:
        # JSON writes characters beyond 16 bits as two escapes, which are invalid in YAML.
        assert "\\ud" in json.dumps(value)
        return
    assert document.value == value


@given(st.text(max_size=200))
def test_any_text_gives_a_document_or_an_error(text: str) -> None:
    try:
        document = parse_document(text)
    except DocumentError:
        return
    assert isinstance(document, Document)


EXPONENT = re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+")


def texts(value: Any) -> Iterator[str]:
    """Yield all strings of a JSON value, including keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


@given(PLAIN)
def test_documents_written_by_pyyaml_are_read_back(value: Any) -> None:
    # `0E0` is a number in JSON and YAML 1.2, and a string in YAML 1.1, which PyYAML writes without quotes.
    assume(not any(EXPONENT.fullmatch(text) for text in texts(value)))
    written = yaml.safe_dump(value)
    assert parse_document(written).value == value
