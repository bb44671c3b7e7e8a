"""Samples that are preprocessed already, beside samples that are not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch

import layerzoo
from layerzoo.errors import SampleError
from layerzoo.runtime import Backbone


@pytest.fixture(scope="module")
def audio() -> Backbone:
    return layerzoo.load("starter/whisper-tiny-en", layer="stem")


def ready(backbone: Backbone, sample: object) -> torch.Tensor:
    return next(iter(backbone.preprocess(sample).inputs.values()))[0]


def test_a_preprocessed_sound_has_the_same_numbers_beside_any_other(audio: Backbone, samples: Path) -> None:
    coin = samples / "arcade/resources/assets/sounds/coin1.wav"
    tensor = ready(audio, coin)
    mixed = layerzoo.extract(audio, [coin, tensor, coin]).values
    np.testing.assert_allclose(mixed[1], layerzoo.extract(audio, [tensor]).values[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(mixed[0], mixed[2])


def test_preprocessed_pictures_may_differ_in_size() -> None:
    backbone = layerzoo.load("starter/efficientnet-lite0", layer="stem")
    pictures = [torch.full((3, side, 64), 0.5) for side in (64, 96, 64, 32)]
    together = layerzoo.extract(backbone, pictures)
    assert together.ids == ("0", "1", "2", "3")
    for row, picture in zip(together.values, pictures, strict=True):
        np.testing.assert_allclose(row, layerzoo.extract(backbone, [picture]).values[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "tokens",
    [torch.zeros(3), torch.zeros(2, 3, dtype=torch.int64), torch.tensor(3), torch.zeros(0, dtype=torch.int64)],
    ids=["no integers", "a batch", "a number", "empty"],
)
def test_what_is_no_row_of_tokens_is_a_sample_that_fails(tokens: torch.Tensor) -> None:
    with pytest.raises(SampleError, match=r"a tokenised text is \(token,\) of integers, and this is"):
        layerzoo.extract("toy/next-word", [tokens])


def test_tokens_that_the_network_does_not_know_are_a_sample_that_fails() -> None:
    found = layerzoo.extract("toy/next-word", [torch.tensor([1, 2]), torch.tensor([99]), "cat"], errors="skip")
    assert found.ids == ("0", "2")
    assert found.errors[0].reason.startswith("the network fails on it: ")


def test_sounds_that_become_windows_of_one_size_are_not_collected_to_be_sorted(audio: Backbone, samples: Path) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for name in cycle(["coin1.wav", "coin2.wav"]):
            taken += 1
            yield samples / "arcade/resources/assets/sounds" / name

    pieces = layerzoo.stream(audio, endless(), batch_size=2)
    assert len(next(pieces)) == 2
    assert taken < 16
    pieces.close()  # type: ignore[attr-defined]
