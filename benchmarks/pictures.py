"""Photographs in the number and the sizes that folders of them have: cut out of real ones, the same every time."""

from __future__ import annotations

import random
from pathlib import Path

import sklearn.datasets
from PIL import Image

_SAMPLES = Path(__file__).parents[1] / ".samples"
_SCIENCE = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png", "rocket.jpg")
_SIZES_PX = ((500, 375), (500, 375), (375, 500), (500, 333), (333, 500), (500, 500), (640, 480))
"""Width and height; the first are those of most pictures of ImageNet."""
_SEED = 5
_SHARE = (0.6, 1.0)
"""How much of a photograph's longest fitting cut is taken."""
_QUALITY = (75, 95)


def write_pictures(folder: Path, number: int) -> list[Path]:
    """So many JPEG files. Returns: their paths, in order."""
    draw = random.Random(_SEED)
    photographs = [Image.open(path).convert("RGB") for path in _photographs()]
    paths = [folder / f"{at:04}.jpg" for at in range(number)]
    for at, path in enumerate(paths):
        picture = _cut(photographs[at % len(photographs)], draw.choice(_SIZES_PX), draw)
        picture.save(path, quality=draw.randint(*_QUALITY))
    return paths


def _photographs() -> list[Path]:
    imagenet = sorted((_SAMPLES / "foolbox/data").glob("imagenet_*.jpg"))
    science = [_SAMPLES / "skimage/data" / name for name in _SCIENCE]
    lessons = sorted((Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg"))
    return [*imagenet, *science, *lessons]


def _cut(photograph: Image.Image, size_px: tuple[int, int], draw: random.Random) -> Image.Image:
    share = draw.uniform(*_SHARE) * min(photograph.width / size_px[0], photograph.height / size_px[1])
    width, height = size_px[0] * share, size_px[1] * share
    left, top = draw.uniform(0, photograph.width - width), draw.uniform(0, photograph.height - height)
    return photograph.resize(size_px, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
