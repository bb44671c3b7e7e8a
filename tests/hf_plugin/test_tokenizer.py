"""The tokens, and the unknown token, of the library's tokenizers equal the library."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import layerzoo
from layerzoo.media.text import KnowsUnknown
from layerzoo.weights import resolve
from layerzoo_hf.text import LibraryTokenizer

TEXTS = ["A fine film.", "naïve 🦜 [SEP] don't", "漢字と仮名", " two  spaces\n", "x" * 300, "\0"]


@pytest.fixture
def library() -> Any:
    return AutoTokenizer.from_pretrained(resolve(layerzoo.model("starter/minilm-l6").weights)["config.json"].parent)


def alone(library: Any, text: str) -> list[int]:
    ids: list[int] = library(text, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
    return ids


def test_tokens_equal_the_library(library: Any) -> None:
    tokenizer = LibraryTokenizer(library)
    assert [tokenizer.encode(text) for text in TEXTS] == [alone(library, text) for text in TEXTS]
    assert (tokenizer.prefix, tokenizer.suffix, tokenizer.pad, tokenizer.unknown) == ((101,), (102,), 0, 100)
    assert isinstance(tokenizer, KnowsUnknown)


def test_a_tokenizer_with_custom_behaviour_is_called_directly(library: Any) -> None:
    class Backwards(PreTrainedTokenizerFast):
        def __call__(self, text: str, **options: Any) -> Any:
            return super().__call__(" ".join(reversed(text.split())), **options)

    own = Backwards(tokenizer_object=library.backend_tokenizer)
    assert LibraryTokenizer(own).encode("a fine film") == alone(library, "film fine a")


def test_a_vocabulary_without_an_unknown_token_has_no_unknown_tokens() -> None:
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bytewise = Tokenizer(models.BPE(letters, []))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    tokenizer = LibraryTokenizer(PreTrainedTokenizerFast(tokenizer_object=bytewise))
    assert tokenizer.unknown is None
    assert len(tokenizer.encode("漢🦜")) == len("漢🦜".encode())


def test_several_threads_and_a_copy_give_equal_tokens(library: Any) -> None:
    tokenizer = LibraryTokenizer(library)
    expected = [tokenizer.encode(text) for text in TEXTS * 20]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(tokenizer.encode, TEXTS * 20)) == expected
    assert [pickle.loads(pickle.dumps(tokenizer)).encode(text) for text in TEXTS] == expected[: len(TEXTS)]
