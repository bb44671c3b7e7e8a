"""Decode audio to mono samples at the sample rate of a network, and split long audio into windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.media import audio_file
from layerzoo.media.audio_file import Mix, Segment, Track, all_channels, mean_of_channels
from layerzoo.media.audio_input import MAX_CHANNELS, Audio
from layerzoo.media.limits import limits, variable_of
from layerzoo.media.resample import resampled
from layerzoo.media.sample import UnusableError, failing_as, name_of
from layerzoo.media.source import Encoded, is_encoded, opened
from layerzoo.media.windows import consecutive_windows, joined, overlapping_windows

AudioSource = Encoded | Audio | tuple[NDArray[Any], int]

_AT_ONCE = 1 << 24
"""The most resampled samples that are kept in memory, 64 MiB. Longer audio is yielded in windows."""
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_000_000


def decode(source: AudioSource, sample_rate_hz: int, channels: int = 1) -> NDArray[np.float32]:
    """Decode audio to samples at a sample rate.

    Args:
        source: a path, the bytes of a file that FFmpeg or libsndfile reads, or such a file, open; an Audio; or a tuple
            (samples, rate in Hz).
        sample_rate_hz: of the result.
        channels: 1 for the mean of the channels. More: audio with another number of channels is refused.
    Returns: (time,) float32; (time, channel) with several channels. A file is decoded to its end, to the samples that
        FFmpeg decodes; integer formats are scaled to -1..1, floating point is taken as it is: the loudness is not
        changed. Samples are resampled by soxr, with an error below -100 dB: see :mod:`layerzoo.media.resample`.
    Raises: SampleError when it is empty, holds no audio, less of it than its headers declare, frames that cannot be
        decoded, or samples that are not finite.
    """
    pieces = [piece for piece in decoded_windows(source, sample_rate_hz, channels, None) if piece is not None]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def decoded_windows(
    source: AudioSource,
    sample_rate_hz: int,
    channels: int,
    window_samples: int | None,
    hop_samples: int | None = None,
) -> Iterator[NDArray[np.float32] | None]:
    """Decode audio, and yield it in windows.

    Args:
        source, sample_rate_hz, channels: see :func:`decode`.
        window_samples: as :func:`windows` has it. None: audio is yielded in pieces of any length, and more of it than
            ``Limits.whole_samples`` is refused.
        hop_samples: from the start of a window to the start of the next, as :func:`overlapping_windows` has it. None:
            each sample is in exactly one window, as :func:`windows` has it.
    Yields: the windows. Long audio is not kept in memory: None is yielded first, after all of it was decoded once, and
        then each window as it is decoded again.
    Raises: SampleError, before the first window.
    """
    mix = mean_of_channels if channels == 1 else all_channels(channels)
    with failing_as(name_of(source)):
        if isinstance(source, tuple):
            yield from _windowed([_of_memory(source, mix)], sample_rate_hz, channels, window_samples, hop_samples)
        elif is_encoded(source):
            with opened(source) as file:
                tracks = audio_file.read(file, mix)
                yield from _windowed(tracks, sample_rate_hz, channels, window_samples, hop_samples)
        else:
            raise UnusableError(_not_audio(source))


def _windowed(
    tracks: list[Track], sample_rate_hz: int, channels: int, window_samples: int | None, hop_samples: int | None
) -> Iterator[NDArray[np.float32] | None]:
    segments = [segment for track in tracks for segment in track.segments]
    for segment in segments:
        if not LOWEST_RATE_HZ <= segment.sample_rate_hz <= HIGHEST_RATE_HZ:
            raise UnusableError(
                f"a sample rate of {segment.sample_rate_hz} Hz: audio has {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}"
            )
        if not segment.is_finite:
            raise UnusableError("holds samples that are not finite (infinite or not a number)")
    if not sum(segment.length for segment in segments):
        raise UnusableError("empty: 0 samples")
    seconds = sum(track.seconds for track in tracks)
    samples_per_s = sample_rate_hz * channels
    most = limits().audio_s or limits().whole_samples / samples_per_s
    if window_samples is None and seconds > most:
        raise UnusableError(
            f"{seconds:,.0f} s of audio, and the limit is {most:,.0f} s for a network that takes a recording in one "
            f"piece. Next: extract it in windows with window= (--window 30s), or raise the limit with "
            f"{variable_of('audio_s')}"
        )
    if all(track.cached_blocks is not None for track in tracks) and seconds * samples_per_s <= _AT_ONCE:
        samples = joined(list(_resampled(tracks, sample_rate_hz)))
        if len(samples) == 0:
            raise UnusableError(
                f"too short: {segments[0].length} samples at {segments[0].sample_rate_hz} Hz are none at "
                f"{sample_rate_hz} Hz"
            )
        yield from _cut([samples], window_samples, hop_samples)
        return
    yield None
    yield from _cut(_resampled(tracks, sample_rate_hz), window_samples, hop_samples)


def _cut(
    pieces: Iterable[NDArray[np.float32]], window_samples: int | None, hop_samples: int | None
) -> Iterable[NDArray[np.float32]]:
    if window_samples is None:
        return pieces
    if hop_samples is None:
        return consecutive_windows(pieces, window_samples)
    return overlapping_windows(pieces, window_samples, hop_samples)


def _resampled(tracks: Iterable[Track], sample_rate_hz: int) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of tracks at another rate, in pieces."""
    for track in tracks:
        for rate, blocks in groupby(track.blocks(), key=itemgetter(0)):
            yield from resampled((block for _, block in blocks), rate, sample_rate_hz)


def _of_memory(source: tuple[Any, ...], mix: Mix) -> Track:
    if len(source) != 2 or not isinstance(source[0], np.ndarray) or not _is_rate(source[1]):
        raise UnusableError(_not_audio(source))
    samples, rate = source
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not samples.shape[1]):
        raise UnusableError(f"samples of shape {samples.shape}: audio is (time,) or (time, channel)")
    if samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS:
        if samples.shape[0] <= MAX_CHANNELS:
            raise UnusableError(
                f"samples of shape {samples.shape}: an array of audio is (time,) or (time, channel). Next: transpose it"
            )
        raise UnusableError(f"samples of shape {samples.shape}: {samples.shape[1]} channels, at most {MAX_CHANNELS}")
    scaled = _scaled(samples)
    mixed = mix(scaled[:, None] if scaled.ndim == 1 else scaled)
    blocks = [(int(rate), mixed)]
    segment = Segment(int(rate), len(mixed), bool(np.isfinite(mixed).all()))
    return Track(lambda: iter(blocks), [segment], blocks)


def _is_rate(value: object) -> bool:
    return isinstance(value, int | np.integer | float | np.floating) and float(value).is_integer()


def _scaled(samples: NDArray[Any]) -> NDArray[np.float32]:
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values that overflow are refused as not finite
            return samples.astype(np.float32)
    if samples.dtype.kind not in "iu":
        raise UnusableError(f"samples of {samples.dtype}: give floating point or integers")
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    middle = half if samples.dtype.kind == "u" else 0.0
    return ((samples.astype(np.float64) - middle) / half).astype(np.float32)


def _not_audio(source: object) -> str:
    if isinstance(source, np.ndarray):
        return f"an array of shape {source.shape} has no sample rate. Pass Audio(samples, sample_rate_hz)"
    return f"cannot read audio of type {type(source).__name__}. Pass a path, bytes or Audio(samples, sample_rate_hz)"
