"""A finding about the pixels of a hook names each declared value that differs from what the hook does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.Image import Resampling
from torchvision.transforms import v2

from layerzoo.conformance.inputs import image
from layerzoo.conformance.pixels import pixel_diagnosis
from layerzoo.media.image import to_array
from layerzoo.spec import ImagePreprocess

DECLARED = ImagePreprocess(size_px=(64, 64), resize="bilinear", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
GEOMETRY = "the hook fits images by `squash`, and declared is `fit: crop`"
PHOTO = image(97, 130, 1)


def squashed(photo: Image.Image, resampling: Resampling = Resampling.BILINEAR) -> NDArray[np.float32]:
    return np.asarray(photo.resize((64, 64), resampling), np.float32).transpose(2, 0, 1)


def cropped(photo: Image.Image) -> NDArray[np.float32]:
    steps = v2.Compose([v2.Resize(64), v2.CenterCrop(64), v2.PILToTensor(), v2.ToDtype(torch.float32)])
    return np.asarray(steps(photo))


def padded(photo: Image.Image, grey: int) -> NDArray[np.float32]:
    made = ImageOps.pad(photo, (64, 64), Resampling.BILINEAR, color=(grey, grey, grey))
    return np.asarray(made, np.float32).transpose(2, 0, 1)


def normalised(pixels: NDArray[Any], mean: float = 0.5, std: float = 0.25) -> NDArray[Any]:
    return (pixels / 255 - mean) / std


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        (lambda: normalised(squashed(PHOTO)), GEOMETRY),
        (lambda: normalised(squashed(PHOTO), 0.4, 0.5), f"{GEOMETRY}; the hook applies mean [0.4, 0.4, 0.4] and std"),
        (
            lambda: normalised(squashed(PHOTO, Resampling.NEAREST)),
            f"{GEOMETRY}; the hook resizes by `nearest`, and declared is `bilinear`",
        ),
        (
            lambda: normalised(squashed(PHOTO)[::-1], 0.4),
            f"the hook gives the channels in the order blue, green, red; {GEOMETRY}; the hook applies mean [0.4,",
        ),
        (lambda: squashed(PHOTO) / 255, f"{GEOMETRY}; the hook applies mean [0.0, 0.0, 0.0] and std [1.0, 1.0, 1.0],"),
        (
            lambda: (cropped(PHOTO) - 0.5) / 0.25,
            "the hook does not divide pixels by 255: it applies mean [0.5, 0.5, 0.5] and std [0.25, 0.25, 0.25] to",
        ),
        (
            lambda: cropped(PHOTO),
            "the hook does not divide pixels by 255: it applies mean [0.0, 0.0, 0.0] and std [1.0, 1.0, 1.0] to",
        ),
        (
            lambda: normalised(cropped(PHOTO) / 255),
            "the hook divides pixels by 255 twice: it applies mean [0.5, 0.5, 0.5] and std [0.25, 0.25, 0.25] to",
        ),
        (lambda: normalised(cropped(PHOTO)[::-1]), "the hook gives the channels in the order blue, green, red"),
        (lambda: np.zeros((3, 64, 64)), "the hook gives one value for all pixels"),
        (lambda: cropped(PHOTO) / 0, "the hook gives values that are NaN or infinite"),
        (lambda: normalised(cropped(PHOTO)).transpose(0, 2, 1), "no other `fit`, `resize`, `crop`, `mean`, `std` or"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_each_value_that_differs_is_named(hook: Callable[[], NDArray[Any]], expected: str) -> None:
    found = pixel_diagnosis(hook(), PHOTO, DECLARED)
    assert found.startswith(expected)
    assert "-0.0" not in found
    assert ("mean" in found) == ("mean" in expected)


def test_a_border_and_another_share_are_named() -> None:
    declared = replace(DECLARED, fit="squash")
    by_pad = "the hook fits images by `pad`, and declared is `fit: squash`"
    assert pixel_diagnosis(normalised(padded(PHOTO, 128)), PHOTO, declared) == by_pad
    black = "its border is black, and that of `fit: pad` has the colour `mean`"
    assert pixel_diagnosis(normalised(padded(PHOTO, 0)), PHOTO, declared) == f"{by_pad}; {black}"
    assert pixel_diagnosis(normalised(padded(PHOTO, 0)), PHOTO, replace(DECLARED, fit="pad")) == black
    applied = to_array(PHOTO, replace(DECLARED, crop=0.875))
    assert pixel_diagnosis(applied, PHOTO, DECLARED) == "the hook crops 0.875 of the side, and declared is 1.0"
    asked = replace(DECLARED, mean=(0.4, 0.5, 0.6))
    reversed_late = to_array(PHOTO, asked)[::-1]
    assert pixel_diagnosis(reversed_late, PHOTO, asked) == "the hook gives the channels in the order blue, green, red"
