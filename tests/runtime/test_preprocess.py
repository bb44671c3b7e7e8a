"""Preprocessed samples can be mixed with other samples."""

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


def test_preprocessed_audio_has_equal_features_in_any_batch(audio: Backbone, samples: Path) -> None:
    coin = samples / "arcade/resources/assets/sounds/coin1.wav"
    tensor = ready(audio, coin)
    mixed = layerzoo.extract(audio, [coin, tensor, coin]).values
    np.testing.assert_allclose(mixed[1], layerzoo.extract(audio, [tensor]).values[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(mixed[0], mixed[2])


def test_preprocessed_images_can_differ_in_size() -> None:
    backbone = layerzoo.load("starter/efficientnet-lite0", layer="stem")
    images = [torch.full((3, side, 64), 0.5) for side in (64, 96, 64, 32)]
    together = layerzoo.extract(backbone, images)
    assert together.ids == ("0", "1", "2", "3")
    for row, image in zip(together.values, images, strict=True):
        np.testing.assert_allclose(row, layerzoo.extract(backbone, [image]).values[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "tokens",
    [torch.zeros(3), torch.zeros(2, 3, dtype=torch.int64), torch.tensor(3), torch.zeros(0, dtype=torch.int64)],
    ids=["no integers", "a batch", "a number", "empty"],
)
def test_an_invalid_row_of_tokens_fails_as_a_sample(tokens: torch.Tensor) -> None:
    with pytest.raises(SampleError, match=r"a tokenised text is \(token,\) of integers, and this is"):
        layerzoo.extract("toy/next-word", [tokens])


def test_tokens_outside_the_vocabulary_fail_as_a_sample() -> None:
    found = layerzoo.extract("toy/next-word", [torch.tensor([1, 2]), torch.tensor([99]), "cat"], errors="skip")
    assert found.ids == ("0", "2")
    assert found.errors[0].reason.startswith("the network fails on it: ")


def test_audio_in_windows_of_equal_size_is_not_collected_for_sorting(audio: Backbone, samples: Path) -> None:
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
