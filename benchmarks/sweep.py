"""Measure the speed of a sweep: ``python -m benchmarks.sweep [IMAGES] [ROUNDS]``.

JPEG files go through a ViT-S/16 with random weights: up to the last block alone, with all 12 blocks in one pass, and in
one pass for each block. Networks are loaded and warm before the clock starts. Contenders take turns, and ratios are
computed within a round, because load on the machine slows all contenders of a round. Then the same sweep over these
images runs twice with the cache, through an EfficientNet with its published weights. At last the classifiers of 12
layers are cross-validated, 5 folds with 5 inner folds, on 5,000 × 384 features of 10 classes.

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
from benchmarks.image_files import write_images
from benchmarks.measure import own_folder

import layerzoo
from layerzoo.sweeps.evaluation import Vectors, measure, plan_folds, select

MODEL, BLOCKS = "timm/vit_small_patch16_224", 12
_IMAGES, _ROUNDS = 500, 3
SWEPT = "starter/efficientnet-lite0"
_ALL, _EACH, _AGAIN, _CLASSIFIERS_S = 1.15, 5.0, 0.05, 60.0
"""The targets: all blocks next to the last one, one pass for each block next to one pass, the second sweep next to the
first, and seconds."""
_SAMPLES, _WIDTH, _CLASSES = 5_000, 384, 10


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else _IMAGES
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else _ROUNDS
    with own_folder() as folder:
        files = write_images(folder, count)
        times = _passes(files, rounds)
        sweeps = _sweeps(files)
    together = median(many / one for one, many in zip(times["last block"], times["all blocks"], strict=True))
    apart = median(each / many for each, many in zip(times["each block"], times["all blocks"], strict=True))
    for name, taken in times.items():
        print(f"{name:12} {median(taken):8.2f} s for {count} images, best of {rounds} {min(taken):.2f} s")
    print(f"{'sweeps':12} {sweeps[0]:8.2f} s the first time, {sweeps[1]:.2f} s the second time")
    used = process_time()
    seconds = _classifiers()
    print(f"{process_time() - used:.1f} s of CPU time for the classifiers")
    missed = [
        _verdict("all blocks next to the last one", together, together <= _ALL, f"at most {_ALL}"),
        _verdict("a pass for each block next to one pass", apart, apart >= _EACH, f"at least {_EACH}"),
        _verdict(
            "the second sweep next to the first",
            sweeps[1] / sweeps[0],
            sweeps[1] <= _AGAIN * sweeps[0],
            f"at most {_AGAIN}",
        ),
        _verdict("seconds of the classifiers", seconds, seconds < _CLASSIFIERS_S, f"less than {_CLASSIFIERS_S:g}"),
    ]
    sys.exit(1 if any(missed) else 0)


def _passes(files: Any, rounds: int) -> dict[str, list[float]]:
    def loaded(layer: Any) -> layerzoo.Backbone:
        backbone = layerzoo.load(MODEL, layer=layer, weights="random:0")
        layerzoo.extract(backbone, list(files[:8]))
        return backbone

    last, every = loaded("block.-1"), loaded("block.*")
    single = [loaded(f"block.{number}") for number in range(BLOCKS)]
    contenders: dict[str, Callable[[], Any]] = {
        "last block": lambda: layerzoo.extract(last, list(files)),
        "all blocks": lambda: layerzoo.extract(every, list(files)),
        "each block": lambda: [layerzoo.extract(backbone, list(files)) for backbone in single],
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(_seconds(run))
    return times


def _sweeps(files: Any) -> list[float]:
    labels = [str(number % 5) for number in range(len(files))]
    return [_seconds(lambda: layerzoo.sweep(SWEPT, list(files), labels, cache=True)) for _ in range(2)]


def _classifiers() -> float:
    random = np.random.default_rng(0)
    targets = random.integers(_CLASSES, size=_SAMPLES)
    mixing = random.normal(size=(_WIDTH, _WIDTH)) / np.sqrt(_WIDTH)  # real features are correlated
    layers = []
    for number in range(BLOCKS):
        centres = random.normal(size=(_CLASSES, _WIDTH)) * 0.02 * (number + 1)
        features = (random.normal(size=(_SAMPLES, _WIDTH)) + centres[targets]) @ mixing
        layers.append(Vectors([features.astype(np.float32)]))
    plan = plan_folds("classify", targets, None, folds=5, repeats=1, seed=0)

    def run() -> None:
        selected, _ = select(measure(plan, layers))
        print(f"accuracy of the selected layers: {selected.mean:.3f}")

    return _seconds(run)


def _seconds(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def _verdict(name: str, value: float, is_met: bool, target: str) -> bool:
    """Print a result next to its target. Returns whether it is missed."""
    print(f"{'ok    ' if is_met else 'missed'} {name}: {value:.3g} ({target})")
    return not is_met


if __name__ == "__main__":
    main()
