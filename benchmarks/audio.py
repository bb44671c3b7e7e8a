"""How fast sounds become features, and how right they are: ``python -m benchmarks.audio [ROUNDS [CLIPS]]``.

Clips of 1 to 15 s go through a network of the size of wav2vec2-base, with random weights, to the mean of its last
block: by the library's own feature extractor and model in a loop of one, and in padded batches of 8 with a mask and the
mean over the true frames, and under autocast in a loop of one, which shows what bfloat16 gives here; and by layerzoo.
Each has a process of its own, in which its network is loaded, and warm, before the clock starts; then they take turns,
from paths to pooled features. Ratios are taken within a round, in which what else the machine does slows all; shown are
medians.

The truth is what the library gives for each clip alone; an error is the distance to it, relative to its length. Exits
with 1 where a target is missed.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.measure import fresh_process, own_folder
from benchmarks.sounds import RATE_HZ, write_sounds
from benchmarks.turns import FloatArray, Run, Seconds, Verdict, in_turns, print_speeds, verdict

_CLIPS = 60
_ROUNDS = 3
_PADDED = 8
"""Clips in a padded batch."""
_SEED = 5
_SPEED = (("layerzoo float32", 1.0), ("layerzoo bfloat16", 1.8))
"""Who should be how many times as fast as the fastest way of the library."""
_EXACT = 1e-5
_TRUTH = "library, one at a time"
_RIVALS = (_TRUTH, f"library, padded batches of {_PADDED}")
"""The ways of the library that are compared with; under autocast it is not exact."""

Extract = Callable[[Sequence[Path]], FloatArray]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    clips = int(sys.argv[2]) if len(sys.argv) > 2 else _CLIPS
    with own_folder() as folder:
        with fresh_process() as process:
            process.submit(_write_network, folder / "network").result()
        sounds = tuple(write_sounds(folder, clips))
        total_s = sum(path.stat().st_size for path in sounds) / (2 * RATE_HZ)
        seconds, features = in_turns(partial(_prepared, folder / "network", sounds), _CONTENDERS, rounds)
    errors = {name: _errors(found, features[_TRUTH]) for name, found in features.items()}
    print_speeds("seconds of sound a second", total_s, seconds, _columns(errors))
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


def _prepared(network: Path, sounds: Sequence[Path], name: str) -> Run:
    extract = _CONTENDERS[name](network)
    return lambda: extract(sounds)


def _by_library(folder: Path, *, together: int, precision: str = "float32") -> Extract:
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
        with torch.no_grad(), torch.autocast("cpu", dtype=getattr(torch, precision), enabled=precision != "float32"):
            states = network(**inputs).last_hidden_state
        return [state[:true].float().mean(0).numpy() for state, true in zip(states, frames, strict=True)]

    def run(paths: Sequence[Path]) -> FloatArray:
        starts = range(0, len(paths), together)
        return np.stack([vector for start in starts for vector in batch(paths[start : start + together])])

    return run


def _by_layerzoo(folder: Path, *, precision: Any) -> Extract:
    import layerzoo
    from layerzoo.spec import Weights

    weights = Weights(source=f"file:{folder}/")
    spec = layerzoo.ModelSpec(id="mine/wav2vec2", modality="audio", builder="transformers", weights=weights)
    backbone = layerzoo.load(spec, layer="block.-1", pool="mean", precision=precision)
    return lambda paths: layerzoo.extract(backbone, paths).values


_CONTENDERS: dict[str, Callable[[Path], Extract]] = {
    _TRUTH: partial(_by_library, together=1),
    _RIVALS[1]: partial(_by_library, together=_PADDED),
    "library bfloat16, one at a time": partial(_by_library, together=1, precision="bfloat16"),
    "layerzoo float32": partial(_by_layerzoo, precision="float32"),
    "layerzoo bfloat16": partial(_by_layerzoo, precision="bfloat16"),
}


def _errors(found: FloatArray, truth: FloatArray) -> FloatArray:
    distances: FloatArray = np.linalg.norm(found - truth, axis=1) / np.linalg.norm(truth, axis=1)
    return distances


def _columns(errors: Mapping[str, FloatArray]) -> dict[str, dict[str, str]]:
    measures: dict[str, Callable[[FloatArray], Any]] = {"median error": np.median, "worst error": np.max}
    return {
        heading: {name: f"{measure(found):.1e}" for name, found in errors.items()}
        for heading, measure in measures.items()
    }


def _speed(seconds: Seconds) -> Iterator[Verdict]:
    fastest = [min(times) for times in zip(*(seconds[name] for name in _RIVALS), strict=True)]
    for name, target in _SPEED:
        ratio = statistics.median(best / ours for best, ours in zip(fastest, seconds[name], strict=True))
        told = f"{name} is {ratio:.2f} times as fast as the fastest way of the library"
        yield verdict(told, f"at least {target}", ratio >= target)


def _exactness(errors: Mapping[str, FloatArray]) -> Verdict:
    worst = float(errors["layerzoo float32"].max())
    return verdict(f"layerzoo float32: error {worst:.1e} at most", f"at most {_EXACT}", worst <= _EXACT)


if __name__ == "__main__":
    main()
