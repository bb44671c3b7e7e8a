"""Decode audio to mono samples at the sample rate of a network, and split long audio into windows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from layerzoo.media import audio_file
from layerzoo.media.audio_file import MAX_CHANNELS, Mix, Segment, all_channels, mean_of_channels
from layerzoo.media.sample import UnusableError, failing_as, name_of
from layerzoo.media.sound import Sound
from layerzoo.media.source import Encoded, is_encoded, opened

SoundSource = Encoded | Sound | tuple[NDArray[Any], int]

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_000_000


def decode(source: SoundSource, sample_rate_hz: int, channels: int = 1) -> NDArray[np.float32]:
    """Decode audio to samples at a sample rate.

    Args:
        source: a path, the bytes of a file that FFmpeg or libsndfile reads, or such a file, open; a Sound; or a tuple
            (samples, rate in Hz).
        sample_rate_hz: of the result.
        channels: 1 for the mean of the channels. More: audio with another number of channels is refused.
    Returns: (time,) float32; (time, channel) with several channels. A file is decoded to its end, to the samples that
        FFmpeg decodes; integer formats are scaled to -1..1, floating point is taken as it is. Samples are resampled by
        soxr in its high quality.
    Raises: SampleError when it is empty, holds no audio, less of it than its headers declare, frames that cannot be
        decoded, or samples that are not finite.
    """
    mix = mean_of_channels if channels == 1 else all_channels(channels)
    with failing_as(name_of(source)):
        if isinstance(source, tuple):
            segments = [_of_memory(source, mix)]
        elif is_encoded(source):
            with opened(source) as file:
                segments = audio_file.read(file, mix)
        else:
            raise UnusableError(_no_sound(source))
        resampled = [_resampled(segment, sample_rate_hz) for segment in segments]
        if not sum(len(segment.samples) for segment in segments):
            raise UnusableError("empty: 0 samples")
        joined = resampled[0] if len(resampled) == 1 else np.concatenate(resampled)
        if len(joined) == 0:
            samples, rate = segments[0]
            raise UnusableError(f"too short: {len(samples)} samples at {rate} Hz are none at {sample_rate_hz} Hz")
        return np.ascontiguousarray(joined, dtype=np.float32)


def windows(samples: NDArray[np.float32], window_samples: int) -> list[NDArray[np.float32]]:
    """A sound in consecutive stretches of at most ``window_samples``: every sample is in exactly one.

    samples: (time,) or (time, channel). All but the last are of full length, so that their frames stay on one grid. A
    rest shorter than a tenth of a window is too little for a network: it and the window before it are halved instead.
    The length of a window is its number of true samples; nothing is padded here.
    """
    edges = [*range(0, max(1, len(samples)), window_samples), len(samples)]
    if len(edges) > 2 and edges[-1] - edges[-2] < window_samples / 10:
        edges[-2] = (edges[-3] + edges[-1] + 1) // 2
    return [samples[start:stop] for start, stop in pairwise(edges)]


def _resampled(segment: Segment, sample_rate_hz: int) -> NDArray[np.float32]:
    samples, rate = segment
    if not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
        raise UnusableError(f"a sample rate of {rate} Hz: audio has {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}")
    if not np.isfinite(samples).all():
        raise UnusableError("holds samples that are not finite (infinite or not a number)")
    if rate == sample_rate_hz or len(samples) == 0:
        return samples
    resampled: NDArray[np.float32] = soxr.resample(samples, rate, sample_rate_hz, quality="HQ")
    return resampled


def _of_memory(source: tuple[Any, ...], mix: Mix) -> Segment:
    if len(source) != 2 or not isinstance(source[0], np.ndarray) or not _is_rate(source[1]):
        raise UnusableError(_no_sound(source))
    samples, rate = source
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= MAX_CHANNELS):
        raise UnusableError(f"samples of shape {samples.shape}: a sound is (time,) or (time, channel)")
    scaled = _scaled(samples)
    return Segment(mix(scaled[:, None] if scaled.ndim == 1 else scaled), int(rate))


def _is_rate(value: object) -> bool:
    return isinstance(value, int | np.integer | float | np.floating) and float(value).is_integer()


def _scaled(samples: NDArray[Any]) -> NDArray[np.float32]:
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows is refused as not finite
            return samples.astype(np.float32)
    if samples.dtype.kind not in "iu":
        raise UnusableError(f"samples of {samples.dtype}: give floating point or integers")
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    middle = half if samples.dtype.kind == "u" else 0.0
    return ((samples.astype(np.float64) - middle) / half).astype(np.float32)


def _no_sound(source: object) -> str:
    given = f"an array of shape {source.shape}" if isinstance(source, np.ndarray) else f"a {type(source).__name__}"
    return f"a sound is a path, bytes, or Sound(samples, sample_rate_hz), and this is {given}"
