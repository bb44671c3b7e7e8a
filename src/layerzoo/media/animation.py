"""Animations as videos: GIF and PNG files, which FFmpeg decodes, and WebP and AVIF files, which Pillow decodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from PIL import Image

from layerzoo.media import progress
from layerzoo.media.image import over_white
from layerzoo.media.limits import limits
from layerzoo.media.sample import UnusableError
from layerzoo.media.timeline import Timeline

DECODED_BY_PILLOW = frozenset({"webp", "avif"})
"""FFmpeg reads the first image of these alone."""


def timeline(file: BinaryIO) -> Timeline:
    """Return when the frames of a WebP or AVIF file are displayed, in milliseconds. Raises: UnusableError."""
    since: list[int] = []
    end = 0
    with _opened(file) as image:
        for number in range(getattr(image, "n_frames", 1)):
            _seek(image, number)
            since.append(end)
            end += max(1, round(image.info.get("duration") or 0))
            progress.beat()
    return Timeline(np.array(since, np.int64), end, Fraction(1, 1000))


def frames(file: BinaryIO, numbers: Sequence[int]) -> Iterator[Image.Image]:
    """Yield some frames of a WebP or AVIF file, by increasing number, in RGB over white. Raises: UnusableError."""
    with _opened(file) as image:
        for number in numbers:
            _seek(image, number)
            progress.beat()
            yield over_white(image) if image.mode in ("RGBA", "LA", "PA", "P") else image.convert("RGB")


@contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    file.seek(0)
    try:
        image = Image.open(file, formats=["WEBP", "AVIF"])
    except (OSError, SyntaxError, ValueError) as error:
        raise UnusableError(f"truncated or damaged: {error}") from error
    if image.width * image.height > (most := limits().frame_pixels):
        raise UnusableError(f"frames of {image.width} × {image.height} pixels; the limit is {most:,} pixels a frame")
    try:
        yield image
    finally:
        file.seek(0)


def _seek(image: Image.Image, number: int) -> None:
    try:
        image.seek(number)
        image.load()
    except (OSError, EOFError, SyntaxError, ValueError) as error:
        raise UnusableError(f"truncated or damaged: frame {number} cannot be decoded") from error
