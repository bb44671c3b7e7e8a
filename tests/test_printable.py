"""Text from untrusted files cannot control a terminal."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerzoo.printable import (
    print_anything,
    printable,
    printable_json,
    printable_lines,
    printable_name,
    speaks_unicode,
)

MARKS = "\u202e\u2066\u200b\u2028\udce9\U000e0041"
HOSTILE = st.text(st.sampled_from(f"\x1b[]0;31mHJ\x07\\\x9b\x9d{MARKS}\x00\r\n\t\x7fab漢"), max_size=40)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 漢字 and é", "plain, 漢字 and é"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;a title\x07after", r"\x1b]0;a title\x07after"),
        ("\x9b2Jcleared", r"\x9b2Jcleared"),
        ("one\r\ntwo\tthree\x00\x7f", r"one two three\x00\x7f"),
        ("abc\u202etxt.exe", r"abc\u202etxt.exe"),
        ("zero\u200bwidth\ufeff\u00ad\u2060\u3164", r"zero\u200bwidth\ufeff\xad\u2060\u3164"),
        ("line\u2028paragraph\u2029", "line paragraph "),
        ("tag\U000e0041", r"tag\U000e0041"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\udce9"),
    ],
)
def test_control_sequences_are_shown_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(HOSTILE)
def test_no_control_sequence_remains(text: str) -> None:
    assert not any(unicodedata.category(each) in ("Cc", "Cf") for each in printable(text))
    assert "\n" not in printable_name(text)
    for line in (printable_name(text), *printable_lines(text).split("\n")):
        assert not any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in line)


def test_a_line_break_in_a_name_is_shown() -> None:
    assert printable_name("a.jpg\nfailed: b.jpg") == r"a.jpg\nfailed: b.jpg"


@given(HOSTILE)
def test_json_is_equal_and_has_no_control_characters(text: str) -> None:
    written = printable_json(json.dumps({"summary": text}, ensure_ascii=False))
    assert json.loads(written) == {"summary": text}
    assert not any(unicodedata.category(each) in ("Cc", "Cf") for each in written)


@pytest.mark.parametrize(("encoding", "written"), [
    ("ascii", "24 x 24 -> caf\\xe9..."), ("latin-1", "24 × 24 -> café..."), ("utf-8", "24 × 24 → café…"),
])  # fmt: skip
def test_characters_outside_the_encoding_are_replaced_by_similar_ones(encoding: str, written: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    print_anything(stream)
    stream.write("24 × 24 → café…")
    stream.flush()
    assert raw.getvalue().decode(encoding) == written
    assert speaks_unicode(stream) == (encoding == "utf-8")


def test_a_name_that_is_not_unicode_is_shown_as_an_escape() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    print_anything(stream)
    stream.write(b"caf\xe9".decode("utf-8", "surrogateescape"))
    stream.flush()
    assert raw.getvalue() == b"caf\\udce9"
