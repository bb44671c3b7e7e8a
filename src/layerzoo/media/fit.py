"""Fit an image into the input size of a network: resize it, then crop its center or add a border."""

from __future__ import annotations

import math
from typing import NamedTuple

from PIL import Image

from layerzoo.errors import SampleError
from layerzoo.spec import ImagePreprocess


class Extent(NamedTuple):
    """The full image that an image at a reduced scale shows."""

    size_px: tuple[int, int]
    """Width and height of the full image."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the full image in pixels of the reduced one, whose last row and column may be
    partial."""


def fitted(image: Image.Image, preprocess: ImagePreprocess, extent: Extent | None = None) -> Image.Image:
    """Return an RGB image at ``preprocess.size_px``.

    Args:
        image: RGB.
        preprocess: the declared preprocessing.
        extent: of an image at a reduced scale, which is fitted as the full image would be. None: a full image.
    Raises: SampleError where resizing would leave nothing of it, or more than PIL.Image.MAX_IMAGE_PIXELS.
    """
    border = tuple(round(255 * value) for value in preprocess.mean) if preprocess.fit == "pad" else (0, 0, 0)
    return _centred(_resized(image, preprocess, extent), preprocess.size_px, border)


def _resized(image: Image.Image, preprocess: ImagePreprocess, extent: Extent | None) -> Image.Image:
    full_width, full_height = image.size if extent is None else extent.size_px
    height, width = resized_size(full_height, full_width, preprocess)
    is_too_large = Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS
    if is_too_large or 0 in (height, width):
        raise SampleError(
            "image", f"too narrow: {full_width} × {full_height} pixels would be resized to {width} × {height}"
        )
    if image.size == (width, height):
        return image
    # Resizing only the part that stays, by Pillow's `box`, takes a third less time and changes single pixels by one.
    box = None if extent is None else extent.box
    return image.resize((width, height), Image.Resampling[preprocess.resize.upper()], box=box)


def resized_size(height: int, width: int, preprocess: ImagePreprocess) -> tuple[int, int]:
    """Return the height and width to which an image is resized.

    With kept proportions and a square input it is rounded down, as in torchvision; otherwise to the nearest integer, as
    in timm's ResizeKeepRatio.
    """
    target_height, target_width = (max(1, math.floor(side / preprocess.crop)) for side in preprocess.size_px)
    if preprocess.fit == "squash":
        return target_height, target_width
    if preprocess.fit == "crop" and target_height == target_width:
        long = int(target_height * max(height, width) / min(height, width))
        return (target_height, long) if height <= width else (long, target_height)
    larger = max if preprocess.fit == "pad" else min
    ratio = larger(height / target_height, width / target_width)
    return round(height / ratio), round(width / ratio)


def _centred(image: Image.Image, size_px: tuple[int, int], border: tuple[int, ...]) -> Image.Image:
    """Return the middle of an image. A side that is too short gets a border; its second half has the odd pixel."""
    height, width = max(size_px[0], image.height), max(size_px[1], image.width)
    if image.size != (width, height):
        framed = Image.new("RGB", (width, height), border)
        framed.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
        image = framed
    left, top = round((width - size_px[1]) / 2), round((height - size_px[0]) / 2)
    return image.crop((left, top, left + size_px[1], top + size_px[0]))
