"""Photographs of usual sizes, cropped from real ones with a fixed seed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image

_SAMPLES = Path(__file__).parents[1] / ".samples"
_SCIENCE = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png", "rocket.jpg")
_SIZES_PX = ((500, 375), (500, 375), (375, 500), (500, 333), (333, 500), (500, 500), (640, 480))
"""Width and height. The first are the most frequent sizes in ImageNet."""
_SEED = 5
_SHARE = (0.6, 1.0)
"""The size of a crop, as a share of the largest possible crop."""
_QUALITY = (75, 95)

_PHOTO_PX = (4032, 3024)
_PHOTO_QUALITY = 90
_NOISE = 4.0
"""Standard deviation of the noise, of 255."""
_TILE_PX = 336


def write_images(folder: Path, number: int) -> list[Path]:
    """Write JPEG files. Returns: their paths, in order."""
    draw = random.Random(_SEED)
    photographs = [Image.open(path).convert("RGB") for path in _photographs()]
    paths = [folder / f"{index:04}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        image = _crop(photographs[index % len(photographs)], draw.choice(_SIZES_PX), draw)
        image.save(path, quality=draw.randint(*_QUALITY))
    return paths


def write_photos(folder: Path, number: int) -> list[Path]:
    """Write JPEG files of 12 megapixels, as phones do. Returns: their paths, in order.

    No photograph of that size comes with a package. Even numbers are crops of photographs, enlarged, with noise as of a
    sensor, so that they take as long to decode as a photograph. Odd numbers are mosaics of photographs in their own
    size, with more detail than a photograph has; reducing their scale changes them most.
    """
    draw = random.Random(_SEED)
    photographs = [Image.open(path).convert("RGB") for path in _photographs()]
    noise = np.random.default_rng(_SEED).normal(0, _NOISE, (_PHOTO_PX[1], _PHOTO_PX[0])).astype(np.int16)
    paths = [folder / f"photo-{index:04}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        if index % 2:
            image = _mosaic(photographs, draw)
        else:
            image = _with_noise(_crop(photographs[index // 2 % len(photographs)], _PHOTO_PX, draw), noise, draw)
        image.save(path, quality=_PHOTO_QUALITY)
    return paths


def _mosaic(photographs: list[Image.Image], draw: random.Random) -> Image.Image:
    mosaic = Image.new("RGB", _PHOTO_PX)
    for top in range(0, _PHOTO_PX[1], _TILE_PX):
        for left in range(0, _PHOTO_PX[0], _TILE_PX):
            tile = draw.choice(photographs)
            x, y = (draw.randint(0, max(0, side - _TILE_PX)) for side in tile.size)
            mosaic.paste(tile.crop((x, y, x + _TILE_PX, y + _TILE_PX)), (left, top))
    return mosaic


def _with_noise(image: Image.Image, noise: NDArray[np.int16], draw: random.Random) -> Image.Image:
    moved = np.roll(noise, (draw.randrange(noise.shape[0]), draw.randrange(noise.shape[1])), (0, 1))
    return Image.fromarray(np.clip(np.asarray(image) + moved[..., None], 0, 255).astype(np.uint8))


def _photographs() -> list[Path]:
    imagenet = sorted((_SAMPLES / "foolbox/data").glob("imagenet_*.jpg"))
    science = [_SAMPLES / "skimage/data" / name for name in _SCIENCE]
    lessons = sorted((Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg"))
    return [*imagenet, *science, *lessons]


def _crop(photograph: Image.Image, size_px: tuple[int, int], draw: random.Random) -> Image.Image:
    share = draw.uniform(*_SHARE) * min(photograph.width / size_px[0], photograph.height / size_px[1])
    width, height = size_px[0] * share, size_px[1] * share
    left, top = draw.uniform(0, photograph.width - width), draw.uniform(0, photograph.height - height)
    return photograph.resize(size_px, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
