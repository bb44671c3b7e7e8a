"""`zoo tokens`: reports whether texts fit a model, without its network and its weights."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.hub import Hub
from tests.terminal import CommandResult, Zoo

import layerzoo
from layerzoo.weights import resolve

MODEL = "starter/minilm-l6"
TEXTS = "a fine film\n\nᚠᚢᚦ and ᚨᚱᚲ, ᚠᚢᚦ\n" + "word " * 300 + "\nunaffordability\n"


@pytest.fixture
def tokens(home: Path, zoo: Zoo) -> Zoo:
    (home / "texts.txt").write_text(TEXTS, encoding="utf-8")
    return partial(zoo, "tokens")


def answer(result: CommandResult) -> Any:
    return json.loads(result.out)


def test_the_counts_of_all_texts_are_summed(tokens: Zoo) -> None:
    result = tokens(MODEL, "texts.txt", "--format", "json")
    assert answer(result) == {
        "model": MODEL, "max_tokens": 256, "texts": 5, "empty": 1, "failed": 1, "words": 308, "tokens": 312,
        "unknown": 3, "truncated": 1, "left_out": 46, "pieces_per_word": pytest.approx(312 / 308),
        "unknown_rate": pytest.approx(3 / 312), "unknown_words": {"ᚠᚢᚦ": 2, "ᚨᚱᚲ,": 1},
    }  # fmt: skip
    assert result[::2] == (1, "1 of 5 texts failed.\n")


def test_the_counts_are_printed_as_a_table(tokens: Zoo) -> None:
    assert tokens(MODEL, "texts.txt", "--format", "table").out == (
        "model     starter/minilm-l6, up to 256 tokens including special tokens\n"
        "texts     5, 1 empty\n"
        "words     308\n"
        "tokens    312, 1.01 per word\n"
        "unknown   3 (0.96%)\n"
        "such as   ᚠᚢᚦ (2), ᚨᚱᚲ, (1)\n"
        "too long  1, which drops 46 tokens\n"
    )


def test_each_text_has_a_row_in_input_order(tokens: Zoo) -> None:
    rows = answer(tokens(MODEL, "texts.txt", "--each", "--format", "json"))
    assert [(row["id"], row["tokens"], row["left_out"], row["problem"]) for row in rows] == [
        ("texts.txt:1", 3, 0, None),
        ("texts.txt:2", None, None, "empty text"),
        ("texts.txt:3", 5, 0, None),
        ("texts.txt:4", 300, 46, None),
        ("texts.txt:5", 4, 0, None),
    ]
    assert [row["unknown_words"] for row in rows] == [[], [], ["ᚠᚢᚦ", "ᚨᚱᚲ,", "ᚠᚢᚦ"], [], []]
    assert tokens(MODEL, "texts.txt", "--each", "--format", "ids").out.split() == [row["id"] for row in rows]


def test_unusual_counts_are_explained_on_standard_error(tokens: Zoo, home: Path) -> None:
    (home / "runes.txt").write_text("ᚠᚢᚦ and ᚨᚱᚲ\n", encoding="utf-8")
    result = tokens(MODEL, "runes.txt")
    assert result.code == 0
    assert result.err.startswith(
        "67% of the tokens (2 of 3) are unknown to starter/minilm-l6: they are missing from its vocabulary"
    )
    (home / "spelt.txt").write_text("Этот фильм мне очень понравился.\n", encoding="utf-8")
    assert "tokens per word: few of these words are in the vocabulary" in tokens(MODEL, "spelt.txt").err
    (home / "known.txt").write_text("a fine film\n", encoding="utf-8")
    assert tokens(MODEL, "known.txt").err == ""


def test_texts_can_come_from_a_column_or_standard_input(tokens: Zoo, home: Path, monkeypatch: Any) -> None:
    (home / "table.csv").write_text("n,said\n1,a fine film\n2,bad\n", encoding="utf-8")
    assert answer(tokens(MODEL, "table.csv", "--column", "said"))["words"] == 4
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a fine film\nbad\n")))
    assert answer(tokens(MODEL, "-"))["words"] == 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((MODEL,), 2, "Missing argument 'INPUT…'"),
        (("starter/efficientnet-lite0", "texts.txt"), 2, "starter/efficientnet-lite0 takes vision, not text"),
        (("starter/minilm", "texts.txt"), 3, "there is no model 'starter/minilm'. Nearest: starter/minilm-l6"),
        ((MODEL, "absent.txt"), 2, "absent.txt: no such file or folder"),
        ((MODEL, "texts.txt", "--column", "a"), 2, "has lines and no columns"),
    ],
    ids=str,
)
def test_a_mistake_has_an_exit_code_and_a_message(
    tokens: Zoo, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = tokens(*arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err


def test_a_tokenizer_without_an_unknown_token_has_no_unknown_counts(tokens: Zoo, home: Path) -> None:
    program = (
        "from layerzoo.testing import toy\n"
        "del toy.WordTokenizer.unknown\n"
        "from layerzoo.cli import main\n"
        "main(['tokens', 'toy/next-word', 'words.txt', '--format', {!r}])\n"
    )
    (home / "words.txt").write_text("the cat drinks\n")
    printed = [
        subprocess.run([sys.executable, "-c", program.format(kind)], capture_output=True, text=True, check=True).stdout
        for kind in ("json", "table")
    ]
    assert (json.loads(printed[0])["unknown"], json.loads(printed[0])["unknown_rate"]) == (None, None)
    assert "unknown   its tokenizer does not report them\n" in printed[1]


def test_counting_tokens_downloads_no_weights(tokens: Zoo, home: Path, connected: Hub) -> None:
    folder = resolve(layerzoo.model(MODEL).weights)["config.json"].parent
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
    repository = connected.repository("acme/bert")
    repository.commit({**{name: (folder / name).read_bytes() for name in names}, "model.safetensors": b"no weights"})
    model = {"modality": "text", "builder": "transformers", "weights": "hf://acme/bert"}
    (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": {"mine/bert": model}}))
    assert answer(tokens("mine/bert", "texts.txt"))["tokens"] == 312
    assert (connected.bytes_sent("*.safetensors"), connected.bytes_sent("*tokenizer.json") > 0) == (0, True)
