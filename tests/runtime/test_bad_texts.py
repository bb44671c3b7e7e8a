"""Unusual texts have a named error, or their documented result, in Python and at the command line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import layerzoo
from layerzoo.cli import main
from layerzoo.errors import EmptySampleError, SampleError
from layerzoo.features import Features
from layerzoo.media.lines import MAX_LINE_BYTES
from layerzoo.runtime import Backbone, load_preprocess

EMPTY, NOTHING = "empty text", "no tokens: the tokenizer makes nothing of it"
GOOD = "a fine film"


@pytest.fixture(scope="module")
def model() -> Backbone:
    return layerzoo.load("starter/minilm-l6", layer="block.0")


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("", EmptySampleError, EMPTY),
        (" \t\r\n\u3000\x85", EmptySampleError, EMPTY),
        (b"", EmptySampleError, EMPTY),
        ("\u200b\u200d\ufeff", EmptySampleError, NOTHING),
        ("\0", EmptySampleError, NOTHING),
        ("\ud83d", SampleError, "not valid Unicode: a lone surrogate at character 0"),
        ("caf\udce9", SampleError, "not valid Unicode: a lone surrogate at character 3"),
        (b"caf\xe9", SampleError, "not UTF-8: byte 0xe9 at position 3"),
        (None, SampleError, "no text: null"),
        (float("nan"), SampleError, "no text: null"),
        (3, SampleError, "cannot read a text of type int. Pass a str or UTF-8 bytes"),
    ],
    ids=repr,
)
def test_an_invalid_text_is_named_and_fails_alone(
    model: Backbone, text: object, kind: type[SampleError], reason: str
) -> None:
    with pytest.raises(kind) as caught:
        layerzoo.extract(model, [GOOD, text])
    assert (caught.value.id, caught.value.reason) == ("1", reason)
    found = layerzoo.extract(model, [GOOD, text, GOOD], errors="skip")
    assert (found.ids, [error.id for error in found.errors]) == (("0", "2"), ["1"])
    assert found.report["empty"] == (kind is EmptySampleError)


def test_null_bytes_and_invisible_characters_do_not_change_features(model: Backbone) -> None:
    values = layerzoo.extract(model, [GOOD, "a\0 fine\0 film", "\ufeffa fi\u200bne film"]).values
    np.testing.assert_allclose(values[1:], np.stack([values[0]] * 2), rtol=1e-5, atol=1e-6)


def test_bidirectional_texts_are_tokenised_in_logical_order(model: Backbone) -> None:
    mixed = "The word \u202bשלום\u202c means peace, سلام too."
    tokens = load_preprocess("starter/minilm-l6").rows(mixed)
    plain = load_preprocess("starter/minilm-l6").rows("The word שלום means peace, سلام too.")
    np.testing.assert_array_equal(tokens.rows[0].inputs["input_ids"], plain.rows[0].inputs["input_ids"])
    assert np.isfinite(layerzoo.extract(model, [mixed]).values).all()


def test_a_line_of_a_megabyte_is_truncated_or_split_and_its_tokens_are_counted(model: Backbone) -> None:
    line = "the dog that drinks milk has seen it. " * 26_500
    found = layerzoo.extract(model, [line, GOOD])
    assert (found.report["words"], found.report["tokens"]) == (8 * 26_500 + 3, 9 * 26_500 + 3)
    assert (found.report["truncated"], found.report["left_out"]) == (1, 9 * 26_500 - 254)
    start = layerzoo.extract(model, [line[:4000]])
    np.testing.assert_allclose(found.values[0], start.values[0], rtol=1e-4, atol=1e-5)


LINES = [GOOD.encode(), b"", b"\xe2\x80\x8b", b"caf\xe9", b"x" * (MAX_LINE_BYTES + 1), b"nul\0l", b"bad"]
PROBLEMS = {
    "-:2": EMPTY,
    "-:3": NOTHING,
    "-:4": "not UTF-8: byte 0xe9 at position 3",
    "-:5": "a line of more than 16 MiB",
}


@pytest.fixture
def piped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(LINES))))


@pytest.mark.usefixtures("piped")
def test_zoo_extract_reports_the_same_failures_for_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["extract", "-", "--model", "starter/minilm-l6", "--layer", "stem", "--out", "f.npz"])
    assert caught.value.code == 1
    message = capsys.readouterr().err
    assert [line for line in message.splitlines() if line.startswith("failed: ")] == [
        f"failed: {place}: {reason}" for place, reason in PROBLEMS.items()
    ]
    features = Features.load("f.npz")
    assert (features.ids, features.report["empty"]) == (("-:1", "-:6", "-:7"), 2)


@pytest.mark.usefixtures("piped")
def test_zoo_tokens_reports_the_same_failures_for_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["tokens", "starter/minilm-l6", "-", "--each", "--format", "json"])
    assert caught.value.code == 1
    rows = json.loads(capsys.readouterr().out)
    assert {row["id"]: row["problem"] for row in rows if row["problem"]} == PROBLEMS
