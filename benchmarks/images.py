"""Measure the speed of features from images: ``python -m benchmarks.images [ROUNDS]``.

160 JPEG files go through ResNet-50 up to its second stage, with the contenders of :mod:`benchmarks.contenders`. Each
contender runs in a separate process. Its network is loaded and warm before the clock starts. The contenders take turns,
and each pass starts at file paths and ends at pooled features. Ratios are computed within a round, because load on the
machine slows all contenders of a round. The medians are printed. Then the peak memory of a stream of images is compared
with that of four times as many.

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.contenders import CONTENDERS, prepared, streamed, write_weights
from benchmarks.image_files import write_images
from benchmarks.measure import fresh_process, own_folder, peak_bytes
from benchmarks.turns import Verdict, cosine_column, in_turns, print_speeds, smallest_cosine, speed_verdicts, verdict

_IMAGES = 160
_ROUNDS = 5
_MORE = 4
"""The factor of the larger stream, whose memory should be the same."""
_GROWTH = 0.05
_SPEED = (
    ("layerzoo float32", "bare cut network float32", 0.85),
    ("layerzoo float32", "timm, DataLoader, hook", 2.0),
    ("layerzoo bfloat16", "bare cut network bfloat16", 0.75),
    ("layerzoo bfloat16", "timm, DataLoader, hook", 4.0),
)
"""Contender, other contender, and the target for the ratio of their speeds."""
_COSINE = {"layerzoo bfloat16": 0.999, "bare cut network bfloat16": 0.999}
_COSINE_FLOAT32 = 0.999999
"""Contenders in float32 compute the same values, with another order of summation."""


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    with own_folder() as folder:
        weights = folder / "resnet50.safetensors"
        write_weights(weights)
        images = tuple(write_images(folder, _IMAGES))
        seconds, features = in_turns(partial(prepared, weights, images), CONTENDERS, rounds)
        peaks = [_peak(weights, images * times) for times in (1, _MORE)]
    reference = next(iter(features.values()))
    cosines = {name: smallest_cosine(values, reference) for name, values in features.items()}
    print_speeds("images/s", _IMAGES, seconds, cosine_column(cosines))
    verdicts = [*speed_verdicts(seconds, _SPEED), *_agreement(cosines), _memory(peaks)]
    for message, _ in verdicts:
        print(message)
    sys.exit(0 if all(reached for _, reached in verdicts) else 1)


def _peak(weights: Path, images: Sequence[Path]) -> int:
    """Return the peak memory of a process that streams images, in bytes."""
    with fresh_process() as process:
        return process.submit(_stream, weights, images).result()


def _stream(weights: Path, images: Sequence[Path]) -> int:
    for _ in streamed(weights, images):
        pass
    return peak_bytes()


def _agreement(cosines: dict[str, float]) -> Iterator[Verdict]:
    for name, cosine in cosines.items():
        target = _COSINE.get(name, _COSINE_FLOAT32)
        if cosine < target or name in _COSINE:
            yield verdict(f"{name}: cosine {cosine:.6f}", f"at least {target}", cosine >= target)


def _memory(peaks: Sequence[int]) -> Verdict:
    few, many = (peak / 1e6 for peak in peaks)
    message = f"layerzoo.stream: peak memory {few:.0f} MB for {_IMAGES} images, {many:.0f} MB for {_MORE * _IMAGES}"
    return verdict(message, f"at most {_GROWTH:.0%} more", many <= few * (1 + _GROWTH))


if __name__ == "__main__":
    main()
