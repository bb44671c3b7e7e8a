"""Braces that a shell has expanded: the extra words are recognised, and the error suggests the quoted selector."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.terminal import Zoo


@pytest.fixture(autouse=True)
def text_file(home: Path) -> None:
    (home / "t.txt").write_text("the cat\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("t.txt --layer block.1 block.2 block.3", "--layer 'block.{1..3}'"),
        ("--layer block.1 block.2 t.txt --model starter/minilm-l6", "--layer 'block.{1..2}'"),
        ("--layer stage.1.block.8 stage.1.block.9 stage.1.block.10 t.txt", "--layer 'stage.1.block.{8..10}'"),
        ("--layer block.3 block.2 t.txt", "--layer block.3 --layer block.2"),
        ("--layer stem pooled t.txt --model starter/minilm-l6", "--layer stem --layer pooled"),
        ("--layer module:layer.1 module:layer.2 t.txt", "--layer 'module:layer.{1..2}'"),
        ("t.txt --pool block.1=max block.2=max", "--pool block.1=max --pool block.2=max"),
    ],
)
def test_extract_suggests_the_quoted_selector(zoo: Zoo, home: Path, words: str, advice: str) -> None:
    result = zoo("extract", *words.split(), "--out", "o.npz")
    assert result.code == 2
    assert "braces" in result.err
    assert result.err.endswith(f"Next: {advice}\n")
    assert not (home / "o.npz").exists()


def test_pull_suggests_the_quoted_selector(zoo: Zoo) -> None:
    result = zoo("pull", "starter/minilm-l6", "--partial", "--layer", "block.1", "block.2")
    assert result.code == 2
    assert result.err.endswith("Next: --layer 'block.{1..2}'\n")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("layers starter/minilm-l6 block.1 block.2 block.3", "'block.{1..3}'"),
        ("layers starter/minilm-l6 --format jsonl block.1 block.2", "'block.{1..2}'"),
        ("layers block.1 block.2", None),
        ("layers starter/minilm-l6 block.1 block.3", "'block.*'"),
        ("layers starter/minilm-l6 stem pooled", "'*'"),
        ("layers --declare timm/resnet18 stage.1.block.0 stage.1.block.1", "'stage.1.block.{0..1}'"),
        ("catalogue check timm --only resnet18 resnet34", "--only resnet18 --only resnet34"),
        ("catalogue build timm --only resnet18 resnet34 resnet50", "--only resnet18 --only resnet34 --only resnet50"),
    ],
)
def test_every_command_with_layers_or_patterns_suggests_the_quoted_selector(
    zoo: Zoo, words: str, advice: str | None
) -> None:
    result = zoo(*words.split())
    assert result.code in (2, 3)
    assert ("A shell makes several words of braces" in result.err) == (advice is not None)
    if advice is not None:
        assert result.err.splitlines()[0].endswith(advice)


@pytest.mark.parametrize(
    "words", ["layers starter/minilm-l6 block.1 other", "show timm/resnet18 timm/resnet34", "doctor block.1"]
)
def test_other_extra_arguments_are_reported_as_unexpected(zoo: Zoo, words: str) -> None:
    result = zoo(*words.split())
    assert result.code == 2
    assert "braces" not in result.err
    assert "unexpected extra argument" in result.err


@pytest.mark.parametrize("words", ["missing.txt t.txt --layer block.1", "missing t.txt", "block.1.txt --layer block.2"])
def test_names_of_missing_files_are_reported_as_missing(zoo: Zoo, words: str) -> None:
    result = zoo("extract", *words.split(), "--out", "o.npz")
    assert result.code != 0
    assert "no such file or folder" in result.err
    assert "braces" not in result.err


def test_a_file_named_like_a_layer_is_an_input(zoo: Zoo, home: Path) -> None:
    (home / "t.txt").rename(home / "block.2")
    assert zoo("extract", "block.2", "--layer", "block.1", "--model", "starter/minilm-l6", "--out", "o.npz").code == 0
