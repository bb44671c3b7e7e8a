"""Photographs of usual sizes, cropped from real ones with a fixed seed."""

from __future__ import annotations

import random
from pathlib import Path

import sklearn.datasets
from PIL import Image

_SAMPLES = Path(__file__).parents[1] / ".samples"
_SCIENCE = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png", "rocket.jpg")
_SIZES_PX = ((500, 375), (500, 375), (375, 500), (500, 333), (333, 500), (500, 500), (640, 480))
"""Width and height. The first are the most frequent sizes in ImageNet."""
_SEED = 5
_SHARE = (0.6, 1.0)
"""The size of a crop, as a share of the largest possible crop."""
_QUALITY = (75, 95)


def write_images(folder: Path, number: int) -> list[Path]:
    """Write JPEG files. Returns: their paths, in order."""
    draw = random.Random(_SEED)
    photographs = [Image.open(path).convert("RGB") for path in _photographs()]
    paths = [folder / f"{index:04}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        image = _crop(photographs[index % len(photographs)], draw.choice(_SIZES_PX), draw)
        image.save(path, quality=draw.randint(*_QUALITY))
    return paths


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
