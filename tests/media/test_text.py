"""Texts are checked, and tokenised like the reference library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import layerzoo
from layerzoo.errors import EmptySampleError, SampleError, UsageError
from layerzoo.media.text import (
    Chunk,
    TextArguments,
    Tokenizer,
    Tokens,
    counts,
    decode,
    encode,
    tokenise,
    unknown_words,
    warning,
)
from layerzoo.weights import resolve


class Characters:
    """A tokenizer whose tokens are code points, between 1 and 2."""

    arguments = TextArguments("ids")
    prefix: Sequence[int] = (1,)
    suffix: Sequence[int] = (2,)
    pad = 0

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]


class Bare(Characters):
    prefix: Sequence[int] = ()
    suffix: Sequence[int] = ()


class Knowing(Characters):
    """A tokenizer that reports unknown tokens."""

    def __init__(self, unknown: int | None) -> None:
        self.unknown = unknown


class Recording(Characters):
    """A tokenizer that records its inputs."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, text: str) -> list[int]:
        self.texts.append(text)
        return super().encode(text)


class Library(Bare):
    """A tokenizer of the library `tokenizers`."""

    def __init__(self, library: Any) -> None:
        library.no_truncation()
        library.no_padding()
        self.library = library

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.library.encode(text, add_special_tokens=False).ids
        return ids


def folder() -> Path:
    """Return the folder of the starter model's tokenizer."""
    return resolve(layerzoo.model("starter/minilm-l6").weights)["config.json"].parent


def refusal(source: Any) -> str:
    with pytest.raises(SampleError) as caught:
        decode(source)
    return caught.value.reason


class TestDecode:
    def test_a_text_is_unchanged(self) -> None:
        assert decode("Grüße 🦜") == "Grüße 🦜"
        assert decode("Grüße 🦜".encode()) == "Grüße 🦜"
        assert decode("  kept as it is\n") == "  kept as it is\n"

    @pytest.mark.parametrize("nothing", ["", " ", "\n\t ", b"", b" \r\n", "\u3000"])
    def test_white_space_alone_is_empty(self, nothing: str | bytes) -> None:
        assert refusal(nothing) == "empty text"

    def test_bytes_that_are_not_utf_8(self) -> None:
        assert refusal(b"caf\xe9") == "not UTF-8: byte 0xe9 at position 3"
        assert refusal("caf\udce9") == "not valid Unicode: a lone surrogate at character 3"

    def test_other_objects(self) -> None:
        assert refusal(float("nan")) == "cannot read a text of type float. Pass a str or UTF-8 bytes"
        assert refusal(None).startswith("cannot read a text of type NoneType")


def chunks(text: str, most: int, overlap: int) -> list[list[int]]:
    return [chunk.ids for chunk in tokenise(text, Characters(), most, overlap=overlap).chunks]


class TestTokenise:
    def test_a_short_text_is_unchanged(self) -> None:
        whole = Tokens([Chunk([1, 97, 98, 99, 2], (0, 5), (1, 1))], total=3, unknown=None, left_out=0)
        assert tokenise("abc", Characters(), 5) == whole
        assert tokenise("abc", Characters(), 5, overlap=2) == whole

    def test_a_long_text_is_truncated_at_the_end_and_counted(self) -> None:
        tokens = tokenise("abcd", Characters(), 4)
        assert tokens == Tokens([Chunk([1, 97, 98, 2], (0, 4), (1, 1))], total=4, unknown=None, left_out=2)

    def test_chunks_contain_every_token(self) -> None:
        assert chunks("abcde", 4, 0) == [[1, 97, 98, 2], [1, 99, 100, 2], [1, 101, 2]]
        assert chunks("abcde", 5, 1) == [[1, 97, 98, 99, 2], [1, 99, 100, 101, 2]]
        assert chunks("abcde", 5, 2) == [[1, 97, 98, 99, 2], [1, 98, 99, 100, 2], [1, 99, 100, 101, 2]]

    @given(st.text(min_size=1, max_size=60), st.integers(3, 12), st.data())
    def test_chunks_overlap_by_the_given_number_and_contain_every_token(
        self, text: str, most: int, data: st.DataObject
    ) -> None:
        overlap = data.draw(st.integers(0, most - 3))
        contents = [ids[1:-1] for ids in chunks(text, most, overlap)]
        assert all(len(content) + 2 <= most for content in contents)
        joined = contents[0] + [token for content in contents[1:] for token in content[overlap:]]
        assert joined == Characters().encode(text)
        assert all(len(content) > overlap for content in contents[1:])

    @given(st.text(min_size=1, max_size=60), st.integers(3, 12), st.data())
    def test_each_position_of_a_text_is_in_the_span_of_one_chunk(
        self, text: str, most: int, data: st.DataObject
    ) -> None:
        overlap = data.draw(st.integers(0, most - 3))
        tokens = tokenise(text, Characters(), most, overlap=overlap)
        spans = [chunk.ids[slice(*chunk.span)] for chunk in tokens.chunks]
        assert [token for span in spans for token in span] == [1, *Characters().encode(text), 2]
        assert all(spans)

    @pytest.mark.parametrize(("overlap", "beyond"), [(4, 2), (5, 2), (9, 4)])
    def test_overlapping_chunks_each_own_half_of_the_shared_tokens(self, overlap: int, beyond: int) -> None:
        first, second, *_ = tokenise("x" * 60, Characters(), 22, overlap=overlap).chunks
        assert second.span[0] == 1 + beyond
        assert len(first.ids) - 1 - first.span[1] == overlap - beyond

    def test_a_limit_without_room_for_any_token_is_refused(self) -> None:
        with pytest.raises(UsageError, match="max_tokens=2 with 2 special tokens leaves room for 0"):
            tokenise("abc", Characters(), 2)
        with pytest.raises(UsageError, match="overlap of 3"):
            tokenise("abc", Characters(), 5, overlap=3)

    @pytest.mark.parametrize("tokenizer", [Characters(), Bare()], ids=["special tokens", "none"])
    def test_a_text_without_tokens_is_empty(self, tokenizer: Tokenizer) -> None:
        with pytest.raises(EmptySampleError, match="no tokens"):
            tokenise("", tokenizer, 4)

    def test_unknown_tokens_are_counted_if_the_tokenizer_has_an_unknown_token(self) -> None:
        assert tokenise("abca", Characters(), 5).unknown is None
        assert tokenise("abca", Knowing(unknown=ord("a")), 5).unknown == 2
        assert tokenise("abca", Knowing(unknown=None), 5).unknown == 0

    def test_tokens_equal_transformers(self, samples: Path) -> None:
        transformers = pytest.importorskip("transformers")
        reference = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(samples / "moonshine_onnx/assets/tokenizer.json")
        )
        special = reference("")["input_ids"]
        assert special == [1]

        class Wrapped:
            arguments = TextArguments("ids")
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
            assert [chunk.ids for chunk in tokens.chunks] == [expected]
            assert tokens.left_out == len(reference(long)["input_ids"]) - len(expected)


class TestCounts:
    def test_counts_describe_truncated_and_chunked_texts(self) -> None:
        text = "a b  a\nc"
        assert counts(text, tokenise(text, Knowing(unknown=ord("a")), 6)) == {
            "words": 4, "tokens": 8, "unknown": 2, "truncated": 1, "left_out": 4, "chunked": 0, "empty": 0,
        }  # fmt: skip
        assert counts(text, tokenise(text, Characters(), 6, overlap=1)) == {
            "words": 4, "tokens": 8, "truncated": 0, "left_out": 0, "chunked": 1, "empty": 0,
        }  # fmt: skip

    def test_words_with_unknown_tokens_are_separated_by_white_space(self) -> None:
        assert unknown_words("ab bb  ca\nab", Knowing(unknown=ord("a"))) == ["ab", "ca", "ab"]

    def test_many_unknown_tokens_give_a_warning(self) -> None:
        assert warning({"tokens": 1000, "unknown": 20}, "acme/net") is None
        assert warning({"tokens": 1000}, "acme/net") is None
        assert warning({}, "acme/net") is None
        message = warning({"tokens": 4000, "unknown": 1520}, "acme/net")
        assert message is not None
        assert message.startswith("38% of the tokens (1,520 of 4,000) are unknown to acme/net: ")


class TestLongTexts:
    """A text that is tokenised in segments gives the tokens of the whole text."""

    @pytest.fixture(autouse=True)
    def short_segments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("layerzoo.media.text.SEGMENT", 50)

    @pytest.mark.parametrize(
        "text",
        [
            "the dog that drinks has seen the cat that eats. " * 40,
            "日本語の文章です。漢字、仮名も。" * 40,
            "x" * 1000,
            "🦜" * 500 + " " + "end " * 50,
            "unfriendliest " * 60 + "\n\n\n" + "שלום עולם! " * 40,
            "a " * 300,
            "…!? " * 300,
        ],
        ids=lambda text: text[:12],
    )
    @pytest.mark.parametrize("name", ["moonshine_onnx/assets/tokenizer.json", "minilm"])
    def test_segments_join_to_the_tokens_of_the_whole_text(self, text: str, name: str, samples: Path) -> None:
        tokenizers = pytest.importorskip("tokenizers")
        path = folder() / "tokenizer.json" if name == "minilm" else samples / name
        tokenizer = Library(tokenizers.Tokenizer.from_file(str(path)))
        assert encode(text, tokenizer) == tokenizer.encode(text)

    def test_no_segment_is_much_longer_than_necessary(self) -> None:
        given = Recording()
        encode("a fine film. " * 100, given)
        assert max(map(len, given.texts)) < 2 * (50 + 200)
        assert len(given.texts) > 20

    def test_a_tokenizer_with_a_special_rule_for_the_beginning_gets_the_whole_text(self) -> None:
        class Marking(Characters):
            def encode(self, text: str) -> list[int]:
                return [7, *super().encode(text)]

        text = "a fine film. " * 100
        assert encode(text, Marking()) == Marking().encode(text)
