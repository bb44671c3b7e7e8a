"""Texts are checked, and tokenised as the reference library does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerzoo.errors import SampleError, UsageError
from layerzoo.media.text import decode, tokenise


class Characters:
    """A tokenizer whose tokens are code points, between 1 and 2."""

    prefix: Sequence[int] = (1,)
    suffix: Sequence[int] = (2,)
    pad = 0

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]


class Bare(Characters):
    prefix: Sequence[int] = ()
    suffix: Sequence[int] = ()


def refusal(source: Any) -> str:
    with pytest.raises(SampleError) as caught:
        decode(source)
    return caught.value.reason


class TestDecode:
    def test_a_text_is_itself(self) -> None:
        assert decode("Grüße 🦜") == "Grüße 🦜"
        assert decode("Grüße 🦜".encode()) == "Grüße 🦜"
        assert decode("  kept as it is\n") == "  kept as it is\n"

    @pytest.mark.parametrize("nothing", ["", " ", "\n\t ", b"", b" \r\n", "\u3000"])
    def test_nothing_but_white_space_is_empty(self, nothing: str | bytes) -> None:
        assert refusal(nothing) == "empty text"

    def test_bytes_that_are_no_utf_8(self) -> None:
        assert refusal(b"caf\xe9") == "not UTF-8: byte 0xe9 at position 3"
        assert refusal("caf\udce9") == "not valid Unicode: a lone surrogate at character 3"

    def test_other_objects(self) -> None:
        assert refusal(float("nan")) == "a text is a str or UTF-8 bytes, and this is a float"
        assert refusal(None).endswith("this is a NoneType")


class TestTokenise:
    def test_what_fits_is_left_alone(self) -> None:
        assert tokenise("abc", Characters(), 5) == ([[1, 97, 98, 99, 2]], 0)
        assert tokenise("abc", Characters(), 5, windows=True) == ([[1, 97, 98, 99, 2]], 0)

    def test_what_does_not_fit_is_cut_at_the_end_and_counted(self) -> None:
        assert tokenise("abcd", Characters(), 4) == ([[1, 97, 98, 2]], 2)

    def test_windows_hold_everything(self) -> None:
        assert tokenise("abcde", Characters(), 4, windows=True) == ([[1, 97, 98, 2], [1, 99, 100, 2], [1, 101, 2]], 0)

    @given(st.text(max_size=60), st.integers(3, 12), st.data())
    def test_windows_overlap_by_what_is_asked_and_lose_nothing(self, text: str, most: int, data: st.DataObject) -> None:
        overlap = data.draw(st.integers(0, most - 3))
        tokens = tokenise(text, Characters(), most, windows=True, overlap=overlap)
        contents = [window[1:-1] for window in tokens.windows]
        assert all(len(window) <= most for window in tokens.windows)
        joined = contents[0] + [token for content in contents[1:] for token in content[overlap:]]
        assert joined == Characters().encode(text)
        assert all(len(content) > overlap for content in contents[1:])

    def test_no_room_for_any_token(self) -> None:
        with pytest.raises(UsageError, match="max_tokens=2 with 2 special tokens leaves room for 0"):
            tokenise("abc", Characters(), 2)
        with pytest.raises(UsageError, match="overlap of 3"):
            tokenise("abc", Characters(), 5, windows=True, overlap=3)

    def test_a_text_without_tokens(self) -> None:
        assert tokenise("", Characters(), 4) == ([[1, 2]], 0)
        with pytest.raises(SampleError, match="no tokens"):
            tokenise("", Bare(), 4)

    def test_it_equals_transformers(self, samples: Path) -> None:
        transformers = pytest.importorskip("transformers")
        reference = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(samples / "moonshine_onnx/assets/tokenizer.json")
        )
        special = reference("")["input_ids"]
        assert special == [1]

        class Wrapped:
            prefix: Sequence[int] = special
            suffix: Sequence[int] = ()
            pad = 0

            def encode(self, text: str) -> list[int]:
                ids: list[int] = reference(text, add_special_tokens=False)["input_ids"]
                return ids

        long = (samples / "skimage/data/README.txt").read_text()
        for most in (5, 17, 10_000):
            expected = reference(long, truncation=True, max_length=most)["input_ids"]
            tokens = tokenise(long, Wrapped(), most)
            assert tokens.windows == [expected]
            assert tokens.left_out == len(reference(long)["input_ids"]) - len(expected)
