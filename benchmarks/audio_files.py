"""Audio clips of varied length, cut from real recordings with a fixed seed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from layerzoo.media import audio

RATE_HZ = 16_000
_SAMPLES = Path(__file__).parents[1] / ".samples"
_SECONDS = (1.0, 15.0)
_SEED = 5


def write_audio(folder: Path, number: int) -> list[Path]:
    """Write WAV files of 1 to 15 s at 16 kHz, mono, the input of speech networks. Returns: their paths."""
    draw = random.Random(_SEED)
    waveforms = [audio.decode(path, RATE_HZ) for path in _recordings()]
    paths = [folder / f"{index:04}.wav" for index in range(number)]
    for index, path in enumerate(paths):
        samples = round(draw.uniform(*_SECONDS) * RATE_HZ)
        soundfile.write(path, _excerpt(waveforms[index % len(waveforms)], samples, draw), RATE_HZ)
    return paths


def _recordings() -> list[Path]:
    effects = sorted((_SAMPLES / "arcade/resources/assets/sounds").glob("*.wav"))
    speech = _SAMPLES / "moonshine_onnx/assets/beckett.wav"
    return [path for effect in effects for path in (effect, speech)]


def _excerpt(waveform: NDArray[Any], samples: int, draw: random.Random) -> NDArray[Any]:
    """Return an excerpt that starts at a random sample; after the end of the waveform it continues at the start."""
    return np.resize(np.roll(waveform, -draw.randrange(len(waveform))), samples)
