"""Measure the speed and the error of features from audio: ``python -m benchmarks.audio [ROUNDS [CLIPS]]``.

Clips of 1 to 15 s go through a network of the size of wav2vec2-base with random weights, up to the mean of its last
block. The contenders are layerzoo and the library's own feature extractor and model: one clip at a time, in padded
batches of 8 with a mask and the mean over the valid frames, and one clip at a time under autocast in bfloat16. A
network of torchaudio of the same size, with other weights, is compared with a loop over torchaudio's own
``extract_features``.

Each contender runs in a separate process. Its network is loaded and warm before the clock starts. The contenders take
turns, and each pass starts at file paths and ends at pooled features. Ratios are computed within a round, because load
on the machine slows all contenders of a round. The medians are printed.

The reference is the result of the network's library for each clip alone. An error is the distance to it, relative to
its length. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.audio_files import RATE_HZ, write_audio
from benchmarks.measure import fresh_process, own_folder
from benchmarks.turns import FloatArray, Run, Seconds, Verdict, in_turns, print_speeds, verdict

_CLIPS = 60
_ROUNDS = 3
_PADDED = 8
"""Clips in a padded batch."""
_SEED = 5
_SPEED = (("layerzoo float32", 1.0), ("layerzoo bfloat16", 1.8))
"""Contender and its target: how many times as fast as the fastest exact run of the library."""
_EXACT = 1e-5
_REFERENCE = "library, one at a time"
_RIVALS = (_REFERENCE, f"library, padded batches of {_PADDED}")
"""The runs of the library that speeds are compared with. Under autocast it is not exact."""
_TORCHAUDIO, _TORCHAUDIO_LOOP = "layerzoo float32, torchaudio", "torchaudio's extract_features"
_TORCHAUDIO_SPEED = 1.0

Extract = Callable[[Sequence[Path]], FloatArray]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    clips = int(sys.argv[2]) if len(sys.argv) > 2 else _CLIPS
    with own_folder() as folder:
        with fresh_process() as process:
            process.submit(_write_networks, folder).result()
        paths = tuple(write_audio(folder, clips))
        total_s = sum(path.stat().st_size for path in paths) / (2 * RATE_HZ)
        seconds, features = in_turns(partial(_prepared, folder, paths), _CONTENDERS, rounds)
    errors = {name: _errors(values, features[_reference(name)]) for name, values in features.items()}
    print_speeds("seconds of audio per second", total_s, seconds, _columns(errors))
    verdicts = [*_speed(seconds), _torchaudio_speed(seconds), *_exactness(errors)]
    for message, _ in verdicts:
        print(message)
    sys.exit(0 if all(reached for _, reached in verdicts) else 1)


def _reference(name: str) -> str:
    """Return the run of the library whose network a contender has."""
    return _TORCHAUDIO_LOOP if name in (_TORCHAUDIO, _TORCHAUDIO_LOOP) else _REFERENCE


def _write_networks(folder: Path) -> None:
    """Write a network with the library's ``save_pretrained``, and the weights of one of torchaudio."""
    import torch
    from safetensors.torch import save_file
    from torchaudio.models import wav2vec2_base
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(_SEED)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder / "network")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder / "network")
    save_file(wav2vec2_base().state_dict(), folder / "torchaudio.safetensors")


def _prepared(folder: Path, paths: Sequence[Path], name: str) -> Run:
    extract = _CONTENDERS[name](folder)
    return lambda: extract(paths)


def _by_library(folder: Path, *, batch_size: int, precision: str = "float32") -> Extract:
    """Return a careful user's code: the library's extractor and model, and a mean over the valid frames."""
    import soundfile
    import torch
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    extractor, network = (
        kind.from_pretrained(folder / "network") for kind in (Wav2Vec2FeatureExtractor, Wav2Vec2Model)
    )
    network.eval()

    def batch(paths: Sequence[Path]) -> list[FloatArray]:
        waveforms = [soundfile.read(path, dtype="float32")[0] for path in paths]
        inputs = extractor(waveforms, sampling_rate=RATE_HZ, padding=True, return_tensors="pt")
        frames = network._get_feat_extract_output_lengths(inputs["attention_mask"].sum(1))
        with torch.no_grad(), torch.autocast("cpu", dtype=getattr(torch, precision), enabled=precision != "float32"):
            states = network(**inputs).last_hidden_state
        return [state[:valid].float().mean(0).numpy() for state, valid in zip(states, frames, strict=True)]

    def run(paths: Sequence[Path]) -> FloatArray:
        starts = range(0, len(paths), batch_size)
        return np.stack([vector for start in starts for vector in batch(paths[start : start + batch_size])])

    return run


def _by_layerzoo(folder: Path, *, precision: Any) -> Extract:
    import layerzoo
    from layerzoo.spec import Weights

    weights = Weights(source=f"file:{folder / 'network'}/")
    spec = layerzoo.ModelSpec(id="mine/wav2vec2", modality="audio", builder="transformers", weights=weights)
    backbone = layerzoo.load(spec, layer="block.-1", pool="mean", precision=precision)
    return lambda paths: layerzoo.extract(backbone, paths).values


def _torchaudio_loop(folder: Path) -> Extract:
    """Return a careful user's code with torchaudio: one clip at a time, and the mean over the frames."""
    import soundfile
    import torch
    from safetensors.torch import load_file
    from torchaudio.models import wav2vec2_base

    network = wav2vec2_base().eval()
    network.load_state_dict(load_file(folder / "torchaudio.safetensors"))

    def vector(path: Path) -> FloatArray:
        waveform = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        with torch.inference_mode():
            layers, _ = network.extract_features(waveform[None])
        mean: FloatArray = layers[-1][0].mean(0).numpy()
        return mean

    return lambda paths: np.stack([vector(path) for path in paths])


def _layerzoo_torchaudio(folder: Path) -> Extract:
    import layerzoo
    from layerzoo.spec import FrozenMap, Weights

    spec = layerzoo.ModelSpec(
        id="mine/torchaudio",
        modality="audio",
        builder="torchaudio",
        args=FrozenMap({"name": "wav2vec2_base"}),
        weights=Weights(source=f"file:{folder / 'torchaudio.safetensors'}"),
    )
    backbone = layerzoo.load(spec, layer="block.-1", pool="mean")
    return lambda paths: layerzoo.extract(backbone, paths).values


_CONTENDERS: dict[str, Callable[[Path], Extract]] = {
    _REFERENCE: partial(_by_library, batch_size=1),
    _RIVALS[1]: partial(_by_library, batch_size=_PADDED),
    "library bfloat16, one at a time": partial(_by_library, batch_size=1, precision="bfloat16"),
    "layerzoo float32": partial(_by_layerzoo, precision="float32"),
    "layerzoo bfloat16": partial(_by_layerzoo, precision="bfloat16"),
    _TORCHAUDIO_LOOP: _torchaudio_loop,
    _TORCHAUDIO: _layerzoo_torchaudio,
}


def _errors(values: FloatArray, reference: FloatArray) -> FloatArray:
    distances: FloatArray = np.linalg.norm(values - reference, axis=1) / np.linalg.norm(reference, axis=1)
    return distances


def _columns(errors: Mapping[str, FloatArray]) -> dict[str, dict[str, str]]:
    measures: dict[str, Callable[[FloatArray], Any]] = {"median error": np.median, "worst error": np.max}
    return {
        heading: {name: f"{measure(values):.1e}" for name, values in errors.items()}
        for heading, measure in measures.items()
    }


def _speed(seconds: Seconds) -> Iterator[Verdict]:
    fastest = [min(times) for times in zip(*(seconds[name] for name in _RIVALS), strict=True)]
    for name, target in _SPEED:
        ratio = statistics.median(best / ours for best, ours in zip(fastest, seconds[name], strict=True))
        message = f"{name} is {ratio:.2f} times as fast as the fastest run of the library"
        yield verdict(message, f"at least {target}", ratio >= target)


def _torchaudio_speed(seconds: Seconds) -> Verdict:
    pairs = zip(seconds[_TORCHAUDIO_LOOP], seconds[_TORCHAUDIO], strict=True)
    ratio = statistics.median(theirs / ours for theirs, ours in pairs)
    message = f"{_TORCHAUDIO} is {ratio:.2f} times as fast as {_TORCHAUDIO_LOOP}"
    return verdict(message, f"at least {_TORCHAUDIO_SPEED}", ratio >= _TORCHAUDIO_SPEED)


def _exactness(errors: Mapping[str, FloatArray]) -> Iterator[Verdict]:
    for name in ("layerzoo float32", _TORCHAUDIO):
        worst = float(errors[name].max())
        yield verdict(f"{name}: error {worst:.1e} at most", f"at most {_EXACT}", worst <= _EXACT)


if __name__ == "__main__":
    main()
