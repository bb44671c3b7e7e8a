"""An image is fitted to the input size of a network: cropped, squashed, or padded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from layerzoo.errors import SampleError
from layerzoo.media.fit import fitted
from layerzoo.spec import ImagePreprocess

RED, BLACK, MEAN = (255, 0, 0), (0, 0, 0), (51, 102, 153)


def preprocess(**values: Any) -> ImagePreprocess:
    return ImagePreprocess(
        **{"size_px": (4, 4), "resize": "box", "mean": (0.2, 0.4, 0.6), "std": (1.0, 1.0, 1.0)} | values
    )


def colours(image: Image.Image) -> list[list[tuple[int, ...]]]:
    return [[tuple(pixel) for pixel in row] for row in np.asarray(image).tolist()]


def test_crop_removes_the_excess() -> None:
    striped = Image.new("RGB", (8, 4), RED)
    striped.paste(BLACK, (2, 0, 6, 4))
    assert colours(fitted(striped, preprocess())) == [[BLACK] * 4] * 4


def test_squash_keeps_the_whole_image() -> None:
    striped = Image.new("RGB", (8, 4), RED)
    striped.paste(BLACK, (2, 0, 6, 4))
    assert colours(fitted(striped, preprocess(fit="squash"))) == [[RED, BLACK, BLACK, RED]] * 4


def test_pad_adds_a_border_of_the_mean_along_the_short_side() -> None:
    made = fitted(Image.new("RGB", (8, 4), RED), preprocess(fit="pad"))
    assert colours(made) == [[MEAN] * 4, [RED] * 4, [RED] * 4, [MEAN] * 4]


@pytest.mark.parametrize(("fit", "border"), [("crop", BLACK), ("squash", BLACK), ("pad", MEAN)])
def test_a_crop_above_one_leaves_a_border_all_around(fit: str, border: tuple[int, ...]) -> None:
    made = fitted(Image.new("RGB", (9, 9), RED), preprocess(fit=fit, crop=2.0))
    inner = [border, RED, RED, border]
    assert colours(made) == [[border] * 4, inner, inner, [border] * 4]


def test_the_odd_pixel_of_a_border_is_at_the_right_and_bottom() -> None:
    made = fitted(Image.new("RGB", (9, 9), RED), preprocess(crop=4 / 3))
    assert colours(made) == [[RED] * 3 + [BLACK]] * 3 + [[BLACK] * 4]


def test_an_image_that_padding_would_shrink_to_nothing_is_refused() -> None:
    with pytest.raises(SampleError, match="too narrow: 1 × 100 pixels would be resized to 0 × 4"):
        fitted(Image.new("RGB", (1, 100)), preprocess(fit="pad"))
