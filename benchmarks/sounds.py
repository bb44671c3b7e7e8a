"""Clips in the lengths that folders of them have: cut out of real sounds, the same every time."""

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


def write_sounds(folder: Path, number: int) -> list[Path]:
    """So many wav files of 1 to 15 s at 16 kHz, mono, as networks for speech take them. Returns: their paths."""
    draw = random.Random(_SEED)
    sounds = [audio.decode(path, RATE_HZ) for path in _recordings()]
    paths = [folder / f"{at:04}.wav" for at in range(number)]
    for at, path in enumerate(paths):
        soundfile.write(path, _cut(sounds[at % len(sounds)], round(draw.uniform(*_SECONDS) * RATE_HZ), draw), RATE_HZ)
    return paths


def _recordings() -> list[Path]:
    effects = sorted((_SAMPLES / "arcade/resources/assets/sounds").glob("*.wav"))
    speech = _SAMPLES / "moonshine_onnx/assets/beckett.wav"
    return [sound for effect in effects for sound in (effect, speech)]


def _cut(sound: NDArray[Any], samples: int, draw: random.Random) -> NDArray[Any]:
    """So much of a sound from a drawn place on; from its end it goes on at its beginning."""
    return np.resize(np.roll(sound, -draw.randrange(len(sound))), samples)
