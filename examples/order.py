"""A task in which only the order of the frames matters: does the camera zoom in or out?

Each photograph of the samples becomes clips of a camera that zooms into a random point. A clip played backwards shows
the camera zooming out: the same frames in the opposite order. All clips of a photograph are in one fold, so that no
model is tested on a photograph that it has seen.

    python examples/order.py            # the table of docs/sequences.md, a few minutes on 2 cores
    python examples/order.py --motion pan
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
SAMPLES = Path(__file__).parents[1] / ".samples"
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
    motion: Motion, *, count: int | None = None, clips: int = 3, frames: int = 8, layer: str = "stage.3"
) -> tuple[list[NDArray[np.float32]], NDArray[np.int_], NDArray[np.int_]]:
    """Return the sequences of all clips, forwards and backwards, their labels, and the photograph of each.

    Args:
        motion: of the camera.
        count: the number of photographs; None: all.
        clips: the number of clips of each photograph.
        frames: the number of frames of a clip.
        layer: the layer of the image model.
    """
    random = np.random.default_rng(0)
    sources = photographs(count)
    images = [
        np.asarray(frame)
        for photograph in sources
        for _ in range(clips)
        for frame in camera(photograph, motion, frames, random)
    ]
    vectors = layerzoo.extract("starter/efficientnet-lite0", images, layer=layer, pool="mean").values
    forward = vectors.reshape(len(sources) * clips, frames, -1)
    sequences = [*forward, *forward[:, ::-1]]
    labels = np.repeat([1, 0], len(forward))
    groups = np.tile(np.repeat(np.arange(len(sources)), clips), 2)
    return sequences, labels, groups


def main() -> None:
    """Print the accuracy of each temporal pooling with a linear model, and of each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", choices=["zoom", "pan"], default="zoom")
    parser.add_argument("--clips", type=int, default=3, help="clips of each photograph")
    parser.add_argument("--layer", default="stage.3")
    arguments = parser.parse_args()
    sequences, labels, groups = task(arguments.motion, clips=arguments.clips, layer=arguments.layer)
    print(f"{len(sequences)} clips of {len(set(groups))} photographs, {sequences[0].shape[0]} frames each")
    models: dict[str, BaseEstimator] = {
        pool: make_pipeline(TemporalPooler(pool), StandardScaler(), LogisticRegression(max_iter=2000))
        for pool in POOLINGS
    }
    for network in NETWORKS:
        models[network] = SequenceClassifier(network, random_state=0)
        models[f"{network}, centered"] = SequenceClassifier(network, center=True, random_state=0)
    print("accuracy of the direction, on photographs that were not seen:")
    for name, model in models.items():
        scores = cross_val_score(model, sequences, labels, groups=groups, cv=GroupKFold(5))
        print(f"{name:22} {scores.mean():.3f} ± {scores.std():.3f}", flush=True)
    clips = np.tile(np.arange(len(groups) // 2) % arguments.clips, 2)
    print("accuracy of the photograph, on clips that were not seen, where order does not matter:")
    for name in ("mean", "gru"):
        scores = cross_val_score(models[name], sequences, groups, groups=clips, cv=GroupKFold(arguments.clips))
        print(f"{name:22} {scores.mean():.3f} ± {scores.std():.3f}", flush=True)


if __name__ == "__main__":
    main()
