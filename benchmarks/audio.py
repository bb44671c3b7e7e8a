"""How fast sounds become features, and how right they are: ``python -m benchmarks.audio [ROUNDS [CLIPS]]``.

Clips of 1 to 15 s go through a network of the size of wav2vec2-base, with random weights, to the mean of its last
block: by the library's own feature extractor and model in a loop of one, and in padded batches of 8 with a mask and the
mean over the true frames; and by layerzoo. Each has a process of its own, in which its network is loaded, and warm,
before the clock starts; then they take turns, from paths to pooled features. Ratios are taken within a round, in which
what else the machine does slows all; shown are medians.

The truth is what the library gives for each clip alone; an error is the distance to it, relative to its length. Exits
with 1 where a target is missed.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.measure import fresh_process, own_folder
from benchmarks.sounds import RATE_HZ, write_sounds
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

_CLIPS = 60
_ROUNDS = 3
_WARM = 2
"""Clips that are run through before the clock starts."""
_PADDED = 8
"""Clips in a padded batch."""
_SEED = 5
_SPEED = (("layerzoo float32", 1.0), ("layerzoo bfloat16", 1.8))
"""Who should be how many times as fast as the fastest way of the library."""
_EXACT = 1e-5
_TRUTH = "library, one at a time"

FloatArray = NDArray[np.float32]
Run = Callable[[Sequence[Path]], FloatArray]
Verdict = tuple[str, bool]
"""What was found, in words; whether the target is reached."""


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    clips = int(sys.argv[2]) if len(sys.argv) > 2 else _CLIPS
    with own_folder() as folder:
        with fresh_process() as process:
            process.submit(_write_network, folder / "network").result()
        sounds = tuple(write_sounds(folder, clips))
        total_s = sum(path.stat().st_size for path in sounds) / (2 * RATE_HZ)
        seconds, features = _in_turns(folder / "network", sounds, rounds)
    errors = {name: _errors(found, features[_TRUTH]) for name, found in features.items()}
    _print_table(total_s, seconds, errors)
    verdicts = [*_speed(seconds), _exactness(errors)]
    for told, _ in verdicts:
        print(told)
    sys.exit(0 if all(reached for _, reached in verdicts) else 1)


def _write_network(folder: Path) -> None:
    """Weights and the feature extractor, as the library saves them."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(_SEED)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)


def _in_turns(
    network: Path, sounds: tuple[Path, ...], rounds: int
) -> tuple[dict[str, list[float]], dict[str, FloatArray]]:
    """Seconds of each contender by round, and its features."""
    seconds: dict[str, list[float]] = {name: [] for name in _CONTENDERS}
    features: dict[str, FloatArray] = {}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(fresh_process()) for name in _CONTENDERS}
        for name, process in processes.items():
            process.submit(_pass, name, network, sounds[:_WARM]).result()
        for _ in range(rounds):
            for name, process in processes.items():
                took, features[name] = process.submit(_pass, name, network, sounds).result()
                seconds[name].append(took)
    return seconds, features


def _pass(name: str, network: Path, sounds: Sequence[Path]) -> tuple[float, FloatArray]:
    run = _prepared(name, network)
    started = perf_counter()
    features = run(sounds)
    return perf_counter() - started, features


@cache
def _prepared(name: str, network: Path) -> Run:
    return _CONTENDERS[name](network)


def _by_library(folder: Path, *, together: int) -> Run:
    """What a careful user writes: the library's extractor and model, and a mean over the true frames."""
    import soundfile
    import torch
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    extractor, network = (kind.from_pretrained(folder) for kind in (Wav2Vec2FeatureExtractor, Wav2Vec2Model))
    network.eval()

    def batch(paths: Sequence[Path]) -> list[FloatArray]:
        sounds = [soundfile.read(path, dtype="float32")[0] for path in paths]
        inputs = extractor(sounds, sampling_rate=RATE_HZ, padding=True, return_tensors="pt")
        frames = network._get_feat_extract_output_lengths(inputs["attention_mask"].sum(1))
        with torch.no_grad():
            states = network(**inputs).last_hidden_state
        return [state[:true].mean(0).numpy() for state, true in zip(states, frames, strict=True)]

    def run(paths: Sequence[Path]) -> FloatArray:
        starts = range(0, len(paths), together)
        return np.stack([vector for start in starts for vector in batch(paths[start : start + together])])

    return run


def _by_layerzoo(folder: Path, *, precision: Any) -> Run:
    import layerzoo
    from layerzoo.spec import Weights

    weights = Weights(source=f"file:{folder}/")
    spec = layerzoo.ModelSpec(id="mine/wav2vec2", modality="audio", builder="transformers", weights=weights)
    backbone = layerzoo.load(spec, layer="block.-1", pool="mean", precision=precision)
    return lambda paths: layerzoo.extract(backbone, paths).values


_CONTENDERS: dict[str, Callable[[Path], Run]] = {
    _TRUTH: partial(_by_library, together=1),
    f"library, padded batches of {_PADDED}": partial(_by_library, together=_PADDED),
    "layerzoo float32": partial(_by_layerzoo, precision="float32"),
    "layerzoo bfloat16": partial(_by_layerzoo, precision="bfloat16"),
}


def _errors(found: FloatArray, truth: FloatArray) -> FloatArray:
    distances: FloatArray = np.linalg.norm(found - truth, axis=1) / np.linalg.norm(truth, axis=1)
    return distances


def _print_table(total_s: float, seconds: dict[str, list[float]], errors: dict[str, FloatArray]) -> None:
    table = Table(box=None)
    table.add_column("seconds of sound a second", no_wrap=True)
    for heading in ("median", "best", "worst", "median error", "worst error"):
        table.add_column(heading, justify="right")
    for name, times in seconds.items():
        speeds = [total_s / time for time in times]
        shown = (statistics.median(speeds), max(speeds), min(speeds))
        wrong = (float(np.median(errors[name])), float(errors[name].max()))
        table.add_row(name, *(f"{speed:.1f}" for speed in shown), *(f"{error:.1e}" for error in wrong))
    Console(highlight=False, width=140).print(table)


def _speed(seconds: dict[str, list[float]]) -> Iterator[Verdict]:
    rivals = [times for name, times in seconds.items() if name.startswith("library")]
    fastest = [min(times) for times in zip(*rivals, strict=True)]
    for name, target in _SPEED:
        ratio = statistics.median(_ratios(fastest, seconds[name]))
        told = f"{name} is {ratio:.2f} times as fast as the fastest way of the library"
        yield _verdict(told, f"at least {target}", ratio >= target)


def _ratios(theirs: Iterable[float], ours: Iterable[float]) -> list[float]:
    return [one / other for one, other in zip(theirs, ours, strict=True)]


def _exactness(errors: dict[str, FloatArray]) -> Verdict:
    worst = float(errors["layerzoo float32"].max())
    return _verdict(f"layerzoo float32: error {worst:.1e} at most", f"at most {_EXACT}", worst <= _EXACT)


def _verdict(told: str, target: Any, reached: bool) -> Verdict:
    return f"{told} (target: {target}){'' if reached else '  MISSED'}", reached


if __name__ == "__main__":
    main()
