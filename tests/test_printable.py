"""What comes from a file of somebody else cannot drive a terminal."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerzoo.printable import print_anything, printable, printable_json, printable_lines, speaks_unicode

HOSTILE = st.text(st.sampled_from("\x1b[]0;31mHJ\x07\\\x9b\x9d\u202e\u2066\x00\r\n\t\x7fab漢"), max_size=40)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 漢字 and é", "plain, 漢字 and é"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;c2VjcmV0", ""),
        ("\x9b2Jcleared", "cleared"),
        ("\x1b[2J\x1b[Hhome\x1bcreset", "homereset"),
        ("one\r\ntwo\tthree\x00", "one two three "),
        ("abc\u202etxt.exe", "abc txt.exe"),
    ],
)
def test_what_a_terminal_obeys_is_taken_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(HOSTILE)
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    assert not any(unicodedata.category(each) in ("Cc", "Cf") for each in printable(text))
    assert set(printable_lines(text)) - set("\n") <= set(printable(text)) | set(" ")


@given(HOSTILE)
def test_json_says_the_same_and_has_no_control(text: str) -> None:
    written = printable_json(json.dumps({"summary": text}, ensure_ascii=False))
    assert json.loads(written) == {"summary": text}
    assert not any(unicodedata.category(each) in ("Cc", "Cf") for each in written)


@pytest.mark.parametrize(("encoding", "written"), [
    ("ascii", "24 x 24 -> caf\\xe9..."), ("latin-1", "24 × 24 -> café..."), ("utf-8", "24 × 24 → café…"),
])  # fmt: skip
def test_every_encoding_gets_what_it_has_or_a_lookalike(encoding: str, written: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    print_anything(stream)
    stream.write("24 × 24 → café…")
    stream.flush()
    assert raw.getvalue().decode(encoding) == written
    assert speaks_unicode(stream) == (encoding == "utf-8")


def test_a_name_that_is_no_unicode_is_written_as_an_escape() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    print_anything(stream)
    stream.write(b"caf\xe9".decode("utf-8", "surrogateescape"))
    stream.flush()
    assert raw.getvalue() == b"caf\\udce9"
