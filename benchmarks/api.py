"""Measure the overhead of ``layerzoo.extract``, and its memory on a generator: ``python -m benchmarks.api [IMAGES]``.

Overhead: 1,000 images of 40 × 40 pixels that are decoded already (arrays) go through a convolutional network that takes
about 1 ms for a batch of 32. The bare loop applies timm's transform to each image, stacks a batch, runs the network and
takes the mean over the positions: what a user writes without layerzoo, in one thread. Both use the same network, and
give the same features. They run in turns, and the medians of the rounds are compared.

Memory: ``layerzoo.stream`` reads IMAGES images (100,000) from a generator. The resident memory after a tenth of them is
compared with that at the end.

Exits with 1 if the overhead is more than 15 %, or the memory grows by more than 5 % or 20 MB.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.measure import fresh_process, own_folder, resident_bytes

_REGISTRY = """\
layerzoo: 1
models:
  mine/small:
    modality: vision
    builder: timm
    args: {name: test_byobnet}
    preprocess:
      {size_px: [32, 32], resize: bicubic, crop: 0.95, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
"""
_LAYER, _BATCH, _IMAGES, _STREAMED, _ROUNDS = "stage.2", 32, 1000, 100_000, 7
_MOST_OVERHEAD, _MOST_GROWTH, _MOST_GROWTH_BYTES = 0.15, 0.05, 20e6


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else _STREAMED
    with own_folder() as folder:
        os.chdir(folder)
        Path("registry.yaml").write_text(_REGISTRY, encoding="utf-8")
        with fresh_process() as process:
            bare, ours, network = process.submit(_in_turns, _ROUNDS).result()
        with fresh_process() as process:
            early, late = process.submit(_streamed, count).result()
    overhead = ours / bare - 1
    print(f"bare loop   {1e3 * bare:7.1f} ms for {_IMAGES:,} images; the network alone {1e3 * network:.2f} ms a batch")
    print(f"extract     {1e3 * ours:7.1f} ms, {overhead:+.1%} (target: at most {_MOST_OVERHEAD:+.0%})")
    print(f"memory      {early / 1e6:,.0f} MB after {count // 10:,} images, {late / 1e6:,.0f} MB after {count:,}")
    is_flat = late - early < max(_MOST_GROWTH * early, _MOST_GROWTH_BYTES)
    sys.exit(0 if overhead <= _MOST_OVERHEAD and is_flat else 1)


def _images(count: int) -> list[np.ndarray[Any, Any]]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 40, 40, 3), dtype=np.uint8))


def _in_turns(rounds: int) -> tuple[float, float, float]:
    """Return the median seconds of the bare loop, of extract, and of the network on one batch."""
    import torch
    from PIL import Image
    from timm.data import create_transform

    import layerzoo

    torch.set_num_threads(1)
    backbone = layerzoo.load("mine/small", layer=_LAYER, weights="random:0")
    transform: Any = create_transform(
        (3, 32, 32), interpolation="bicubic", crop_pct=0.95, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    images = _images(_IMAGES)

    def bare() -> np.ndarray[Any, Any]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(images), _BATCH):
                rows = [transform(Image.fromarray(pixels)) for pixels in images[start : start + _BATCH]]
                batch = torch.stack(rows).to(memory_format=torch.channels_last)
                found.append(backbone.module(batch)[_LAYER].mean((2, 3)).numpy())
        return np.concatenate(found)

    def ours() -> np.ndarray[Any, Any]:
        return layerzoo.extract(backbone, images, batch_size=_BATCH).values

    np.testing.assert_allclose(ours(), bare(), rtol=1e-4, atol=1e-5)
    times = [(_seconds(bare), _seconds(ours)) for _ in range(rounds)]
    ready = torch.randn(_BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        network = [_seconds(lambda: backbone.module(ready)) for _ in range(100)]
    bare_s, ours_s = (statistics.median(column) for column in zip(*times, strict=True))
    return bare_s, ours_s, statistics.median(network)


def _seconds(call: Any) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def _streamed(count: int) -> tuple[int, int]:
    """Return the resident bytes after a tenth of the images of a generator, and after all."""
    import layerzoo

    backbone = layerzoo.load("mine/small", layer=_LAYER, weights="random:0")
    some = _images(64)

    def generator() -> Iterator[np.ndarray[Any, Any]]:
        for number in range(count):
            yield some[number % len(some)].copy()

    done, early = 0, 0
    for piece in layerzoo.stream(backbone, generator(), batch_size=_BATCH):
        done += len(piece)
        if not early and done >= count // 10:
            early = resident_bytes()
    assert done == count
    return early, resident_bytes()


if __name__ == "__main__":
    main()
