"""How fast pictures become features: ``python -m benchmarks.images [ROUNDS]``.

160 JPEG files go through ResNet-50 up to its second stage, in the ways of :mod:`benchmarks.contenders`. Each has a
process of its own, in which its network is loaded, and warm, before the clock starts; then they take turns, one at a
time, from paths to pooled features. Ratios are taken within a round, in which what else the machine does slows all;
shown are medians. Then: how much memory a stream of pictures takes, and of four times as many.

Exits with 1 where a target is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.contenders import CONTENDERS, prepared, streamed_through, write_weights
from benchmarks.measure import fresh_process, own_folder, peak_bytes
from benchmarks.pictures import write_pictures
from benchmarks.turns import Verdict, cosine_column, in_turns, print_speeds, smallest_cosine, speed_verdicts, verdict

_PICTURES = 160
_ROUNDS = 5
_MORE = 4
"""How many times as many pictures a stream gets to show that its memory stays the same."""
_GROWTH = 0.05
_SPEED = (
    ("layerzoo float32", "bare cut network float32", 0.85),
    ("layerzoo float32", "timm, DataLoader, hook", 2.0),
    ("layerzoo bfloat16", "bare cut network bfloat16", 0.75),
    ("layerzoo bfloat16", "timm, DataLoader, hook", 4.0),
)
"""Who should be how many times as fast as whom."""
_COSINE = {"layerzoo bfloat16": 0.999, "bare cut network bfloat16": 0.999}
_COSINE_FLOAT32 = 0.999999
"""What contenders that compute in float32 owe each other: they do the same, in other orders of summation."""


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    with own_folder() as folder:
        weights = folder / "resnet50.safetensors"
        write_weights(weights)
        pictures = tuple(write_pictures(folder, _PICTURES))
        seconds, features = in_turns(partial(prepared, weights, pictures), CONTENDERS, rounds)
        peaks = [_peak(weights, pictures * times) for times in (1, _MORE)]
    reference = next(iter(features.values()))
    cosines = {name: smallest_cosine(found, reference) for name, found in features.items()}
    print_speeds("images/s", _PICTURES, seconds, cosine_column(cosines))
    verdicts = [*speed_verdicts(seconds, _SPEED), *_agreement(cosines), _memory(peaks)]
    for told, _ in verdicts:
        print(told)
    sys.exit(0 if all(reached for _, reached in verdicts) else 1)


def _peak(weights: Path, pictures: Sequence[Path]) -> int:
    """The most memory that a process takes which streams pictures, in bytes."""
    with fresh_process() as process:
        return process.submit(_stream, weights, pictures).result()


def _stream(weights: Path, pictures: Sequence[Path]) -> int:
    for _ in streamed_through(weights, pictures):
        pass
    return peak_bytes()


def _agreement(cosines: dict[str, float]) -> Iterator[Verdict]:
    for name, cosine in cosines.items():
        target = _COSINE.get(name, _COSINE_FLOAT32)
        if cosine < target or name in _COSINE:
            yield verdict(f"{name}: cosine {cosine:.6f}", f"at least {target}", cosine >= target)


def _memory(peaks: Sequence[int]) -> Verdict:
    few, many = (peak / 1e6 for peak in peaks)
    told = f"layerzoo.stream: peak memory {few:.0f} MB for {_PICTURES} pictures, {many:.0f} MB for {_MORE * _PICTURES}"
    return verdict(told, f"at most {_GROWTH:.0%} more", many <= few * (1 + _GROWTH))


if __name__ == "__main__":
    main()
