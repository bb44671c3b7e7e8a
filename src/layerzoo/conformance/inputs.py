"""The inputs that a model is checked with: made here, the same every time, of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from layerzoo.media.audio_input import Audio
from layerzoo.spec import AudioPreprocess, ImagePreprocess, TextPreprocess, VideoPreprocess

if TYPE_CHECKING:
    from layerzoo.runtime.preprocess import Preprocessor

TEXTS = (
    "A fine film.",
    "no",
    "It rained all week, and no one in the village could remember a worse June.",
    "the cat drinks milk",
    "dog",
)
_ODD_TEXTS = ("é😀 中文 ﷺ", "a\tb\nc", "x" * 3000, "word " * 2000, "\u200b.", "I", "NULL")
_EMPTY_TEXTS = ("", "   \n")


def usual(preprocess: Preprocessor, declared: Any) -> list[Any]:
    """Return inputs of several sizes, as users have them.

    Args:
        preprocess: of the model.
        declared: its declared preprocessing.
    """
    if isinstance(declared, TextPreprocess):
        return list(TEXTS)
    if isinstance(declared, ImagePreprocess):
        return [image(*size) for size in ((72, 97), (120, 80), (64, 64))]
    if isinstance(declared, VideoPreprocess):
        return [np.stack([np.asarray(image(48, 64, seed)) for seed in range(number)]) for number in (20, 9)]
    assert isinstance(declared, AudioPreprocess)
    usual_samples = min(declared.sample_rate_hz, round((declared.window_s or 1.0) * declared.sample_rate_hz))
    return [audio(round(share * usual_samples), declared) for share in (1.0, 0.53, 0.77)]


def odd(declared: Any) -> Iterator[tuple[str, Any]]:
    """Yield unusual inputs, each with a description.

    Args:
        declared: the declared preprocessing of a model.
    """
    if isinstance(declared, TextPreprocess):
        yield from ((f"the text {text[:12]!r}", text) for text in (*_ODD_TEXTS, *_EMPTY_TEXTS))
    elif isinstance(declared, ImagePreprocess):
        yield from _odd_images()
    elif isinstance(declared, VideoPreprocess):
        yield "a video of one frame", np.asarray(image(40, 50))[None]
        yield "a video of 3 frames of 2 × 90 pixels", np.stack([np.asarray(image(2, 90))] * 3)
    elif isinstance(declared, AudioPreprocess):
        rate = declared.sample_rate_hz
        second = audio(rate, declared).samples
        yield "silence", Audio(np.zeros(second.shape, np.float32), rate)
        yield "one sample", audio(1, declared)
        yield "10 ms", audio(max(1, rate // 100), declared)
        yield "audio at another sample rate", Audio(second, rate * 2 + 1)
        yield "audio of full scale", Audio(np.sign(second), rate)


def image(height: int, width: int, seed: int = 0) -> Any:
    """Return an RGB ``PIL.Image`` with edges, gradients and noise, whose channels differ."""
    from PIL import Image

    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    red = 255 * x / max(width - 1, 1)
    green = 200 * (((x // 7) + (y // 5) + seed) % 2)
    blue = 90 * y / max(height - 1, 1) + 40
    noise = random.integers(0, 24, (height, width, 3))
    return Image.fromarray(np.clip(np.stack([red, green, blue], axis=-1) + noise, 0, 255).astype(np.uint8))


def audio(samples: int, declared: AudioPreprocess) -> Audio:
    """Return tones with noise at the sample rate of a model, (time,) or (time, channel)."""
    time = np.arange(samples) / declared.sample_rate_hz
    random = np.random.default_rng(samples)
    wave = 0.4 * np.sin(2 * np.pi * 220 * time) + 0.2 * np.sin(2 * np.pi * 1370 * time)
    wave = (wave + 0.05 * random.standard_normal(samples)).astype(np.float32)
    if declared.channels > 1:
        wave = np.stack([wave * (0.5 + channel / 10) for channel in range(declared.channels)], axis=-1)
    return Audio(wave, declared.sample_rate_hz)


def _odd_images() -> Iterator[tuple[str, Any]]:
    photo = image(50, 70)
    yield "an image of 1 × 1 pixel", image(1, 1)
    yield "an image of 3 × 400 pixels", image(3, 400)
    yield "an image of 400 × 3 pixels", image(400, 3)
    for mode in ("L", "1", "P", "RGBA", "CMYK", "LA"):
        yield f"an image of the mode {mode}", photo.convert("L").convert("LA") if mode == "LA" else photo.convert(mode)
