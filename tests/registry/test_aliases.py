"""An alias in a user's registry.yaml can be used in place of an id, with or without the user's namespace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.terminal import Zoo

import layerzoo
from layerzoo.errors import UnknownModelError
from layerzoo.registry import registry

REGISTRY = """
layerzoo: 1
disable: [unwanted, timm/resnet50d]
aliases:
  fav: toy/next-word
  second: fav
  mine/third: second
  img: starter/efficientnet-lite0
  lost: starter/nothing
  unwanted: timm/resnet18
models:
  short: {modality: text, base: fav, preprocess: {max_tokens: 4}}
  clips: {modality: video, builder: frames, base: img, preprocess: {frames: 2}}
"""
NAMES = ("fav", "mine/fav", "second", "mine/second", "mine/third", "toy/next-word")


@pytest.fixture(autouse=True)
def registry_file(home: Path) -> Path:
    path = home / "registry.yaml"
    path.write_text(REGISTRY, encoding="utf-8")
    return path


def test_an_alias_is_an_id_in_python() -> None:
    expected = layerzoo.extract("toy/next-word", ["the cat"])
    for name in NAMES:
        assert layerzoo.model(name).id == "toy/next-word"
        found = layerzoo.extract(name, ["the cat"])
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.provenance["model"] == "toy/next-word"


@pytest.mark.parametrize("verb", ["show", "compare", "layers", "layers --trace", "pull", "lock"])
def test_an_alias_is_an_id_at_the_command_line(zoo: Zoo, verb: str) -> None:
    def run(name: str) -> str:
        printed = zoo(*verb.split(), *[name] * (2 if verb == "compare" else 1))
        assert printed.code == 0
        return printed.out

    expected = run("toy/next-word")
    for name in ("second", "mine/fav", "mine/third", "third"):
        assert run(name) == expected


def test_an_alias_extracts_with_its_model(zoo: Zoo, home: Path) -> None:
    (home / "texts.txt").write_text("the cat\n", encoding="utf-8")
    assert zoo("extract", "texts.txt", "--model", "second", "--out", "f.npz").code == 0
    assert zoo("tokens", "second", "texts.txt").code == 0


def test_a_model_can_have_an_alias_as_its_base() -> None:
    assert layerzoo.model("mine/short").base == "toy/next-word"
    assert layerzoo.model("mine/clips").base == "starter/efficientnet-lite0"
    assert [problem.message.partition(":")[0] for problem in registry().problems()] == [
        "the alias 'lost' leads to starter/nothing"
    ]


def test_an_alias_of_a_missing_model_is_named(zoo: Zoo) -> None:
    with pytest.raises(UnknownModelError, match="the alias 'lost' leads to starter/nothing: there is no model"):
        layerzoo.load("lost")
    assert "the alias 'lost' leads to starter/nothing" in zoo("show", "lost").err


def test_an_alias_is_completed() -> None:
    assert registry().names("fa", limit=5) == ["fav"]


def test_the_model_of_an_alias_is_disabled_by_its_id(zoo: Zoo) -> None:
    for name in ("unwanted", "timm/resnet18.a1_in1k", "timm/resnet50d"):
        with pytest.raises(UnknownModelError, match="is disabled by"):
            layerzoo.model(name)
    assert "`disable: [timm/resnet50d]`" in zoo("show", "resnet50d").err
    assert layerzoo.model("timm/resnet34d")


def test_the_command_line_accepts_the_last_part_of_a_plugins_alias(zoo: Zoo) -> None:
    assert zoo("show", "resnet34d", "--format", "ids").out == zoo("show", "timm/resnet34d", "--format", "ids").out
