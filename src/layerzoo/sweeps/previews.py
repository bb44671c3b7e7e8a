"""Small versions of the samples: to show them, and as features without any network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT

from layerzoo.errors import SampleError
from layerzoo.frame_sampling import FrameSampling
from layerzoo.media.dataset import is_tensor
from layerzoo.media.decoder import Workers
from layerzoo.media.operations import Part
from layerzoo.media.sample import Sample
from layerzoo.runtime.prefetch import prefetch
from layerzoo.spec import ImagePreprocess, Modality

_SIDE_PX = 16
"""The side of the image whose pixels are features: 16 × 16 × 3 = 768 numbers, as many as a layer of a ViT-B."""
_THUMBNAIL_PX = 96
_FRAMES = 4
"""Frames of a video."""
_RATE_HZ, _WINDOW, _HOP, _BANDS = 16_000, 400, 160, 64
"""Of the spectrogram: windows of 25 ms every 10 ms, and 64 mel bands, as audio networks take it."""
_MOST_CHARACTERS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """A small version of one sample."""

    features: NDArray[np.float32] | None
    """Pixels, or mean and standard deviation of each mel band. None for a text, and where decoding fails."""
    text: str | None = None
    """The beginning of a text."""
    image: str | None = None
    """A data URL of a thumbnail, of the middle frame of a video or of a spectrogram."""


def previews(samples: Sequence[Sample], modality: Modality) -> list[Preview]:
    """Return a preview of each sample. One that cannot be decoded has neither features nor an image.

    Args:
        samples: with sources that :func:`layerzoo.extract` takes.
        modality: of the model that reads them.
    """
    if modality == "text":
        return [Preview(None, (text_of(sample.source) or "")[:_MOST_CHARACTERS]) for sample in samples]
    with Workers(all_cores=True) as decoder:

        def preview(sample: Sample) -> Preview:
            if is_tensor(sample.source):  # preprocessed already
                return Preview(None)
            try:
                return decoder.result(_OPERATION[modality], sample.source, _options(modality), _ASSEMBLE[modality])
            except SampleError:
                return Preview(None)

        return list(
            prefetch(
                samples,
                preview,
                ahead=16,
                threads=decoder.processes,
                late=decoder.want_more,
                stop=decoder.close,
            )
        )


def text_of(source: Any) -> str | None:
    """Return the text of a sample; None for another kind of sample."""
    if isinstance(source, bytes):
        return source.decode("utf-8", "replace")
    return source if isinstance(source, str) else None


_OPERATION: dict[Modality, str] = {"vision": "image", "video": "video", "audio": "audio"}


def _options(modality: Modality) -> dict[str, Any]:
    if modality == "vision":
        black_and_white: Any = {"mean": (0, 0, 0), "std": (1, 1, 1)}
        size = (_THUMBNAIL_PX, _THUMBNAIL_PX)
        small = ImagePreprocess(size_px=size, resize="bilinear", **black_and_white)
        return {"reduce": small}
    if modality == "video":
        return {"sampling": FrameSampling(frames=_FRAMES).to_plain()}
    return {"sample_rate_hz": _RATE_HZ, "channels": 1, "window": 60 * _RATE_HZ}


def _of_image(parts: Iterator[Part]) -> Preview:
    (part,) = parts
    return Preview(_pixels(part.data), image=_thumbnail(part.data))


def _of_video(parts: Iterator[Part]) -> Preview:
    frames = [part.data for part in parts]
    pixels = np.concatenate([_pixels(frames[number * len(frames) // _FRAMES]) for number in range(_FRAMES)])
    return Preview(pixels, image=_thumbnail(frames[len(frames) // 2]))


def _of_audio(parts: Iterator[Part]) -> Preview:
    windows = [part.data for part in parts if part.data is not None]
    bands = log_mel(np.concatenate(windows[:1]))
    return Preview(np.concatenate([bands.mean(axis=1), bands.std(axis=1)]), image=_spectrogram(bands))


_ASSEMBLE = {"vision": _of_image, "video": _of_video, "audio": _of_audio}


def _pixels(image: Any) -> NDArray[np.float32]:
    from PIL import Image

    small = image.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1) / np.float32(255)


def _thumbnail(image: Any) -> str:
    small = image.copy()
    small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    return _data_url(small)


def _spectrogram(bands: NDArray[np.float32]) -> str:
    """Return a spectrogram as an image: low bands at the bottom, loud parts dark."""
    from PIL import Image

    low, high = float(bands.min()), float(bands.max())
    grey = 255 * (1 - (bands[::-1] - low) / (high - low or 1))
    return _data_url(Image.fromarray(grey.astype(np.uint8)).resize((_THUMBNAIL_PX, _BANDS)).convert("RGB"))


def _data_url(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def log_mel(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the log-mel spectrogram of a waveform.

    Args:
        waveform: (time,) at 16 kHz.
    Returns: (band, frame) float32: the natural logarithm of the power in 64 mel bands, in windows of 25 ms every 10 ms.
    """
    padded = np.pad(waveform.astype(np.float64), (0, max(0, _WINDOW - len(waveform))))
    transform = ShortTimeFFT(np.hanning(_WINDOW), _HOP, _RATE_HZ, mfft=512)
    power = np.abs(transform.stft(padded)) ** 2
    bands: NDArray[np.float32] = np.log(mel_filters(power.shape[0]) @ power + 1e-6).astype(np.float32)
    return bands


def mel_filters(bins: int) -> NDArray[np.float64]:
    """Return triangular filters that overlap by half, equally wide on the mel scale.

    Args:
        bins: frequencies of a spectrum, from 0 to half the sample rate.
    Returns: (band, bin), the largest value of each triangle is 1.
    Source: O'Shaughnessy, "Speech Communication", 1987: mel = 2595 log10(1 + f / 700).
    """
    highest = 2595 * np.log10(1 + _RATE_HZ / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, _BANDS + 2) / 2595) - 1)
    frequencies = np.linspace(0, _RATE_HZ / 2, bins)
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    return np.clip(np.minimum(rising, falling), 0, None)
