"""Fit an image into the input size of a network: resize it, then crop its center or add a border."""

from __future__ import annotations

import math

from PIL import Image

from layerzoo.errors import SampleError
from layerzoo.spec import ImagePreprocess


def fitted(image: Image.Image, preprocess: ImagePreprocess) -> Image.Image:
    """Return an RGB image at ``preprocess.size_px``.

    Raises: SampleError where resizing would leave nothing of it, or more than PIL.Image.MAX_IMAGE_PIXELS.
    """
    border = tuple(round(255 * value) for value in preprocess.mean) if preprocess.fit == "pad" else (0, 0, 0)
    return _centred(_resized(image, preprocess), preprocess.size_px, border)


def _resized(image: Image.Image, preprocess: ImagePreprocess) -> Image.Image:
    height, width = _new_size(image.height, image.width, preprocess)
    is_too_large = Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS
    if is_too_large or 0 in (height, width):
        raise SampleError(
            "image", f"too narrow: {image.width} × {image.height} pixels would be resized to {width} × {height}"
        )
    if image.size == (width, height):
        return image
    # Resizing only what will be seen, by Pillow's `box`, takes a third less time and changes single pixels by one.
    return image.resize((width, height), Image.Resampling[preprocess.resize.upper()])


def _new_size(height: int, width: int, preprocess: ImagePreprocess) -> tuple[int, int]:
    """Return the size to which an image is resized.

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
