"""Sounds: from any form to mono samples at the network's rate, and from long sounds to windows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from layerzoo.media import container
from layerzoo.media.sample import UnusableError, failing_as, name_of
from layerzoo.media.sniff import looks_like, sniff
from layerzoo.media.sound import Sound
from layerzoo.media.source import Encoded, is_encoded, opened

SoundSource = Encoded | Sound | tuple[NDArray[Any], int]

BLOCK_SAMPLES = 1 << 20
MAX_CHANNELS = 64
UNKNOWN_FRAMES = (
    1 << 63
) - 1  # what libsndfile says where a header leaves the length open; it cannot read on from there
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_000_000


def decode(source: SoundSource, sample_rate_hz: int) -> NDArray[np.float32]:
    """A sound as mono samples at a rate.

    source: a path or the bytes of a file that libsndfile reads; a Sound; or a tuple (samples, rate in Hz).
    Channels are averaged, then the sound is resampled by soxr in its high quality: never relabelled.
    Returns: (time,) float32; integer formats are scaled to -1..1, floating point is taken as it is.
    Raises: SampleError when it is empty, truncated, no sound, or holds samples that are not finite.
    """
    with failing_as(name_of(source)):
        if isinstance(source, tuple):
            mono, rate = _of_memory(source)
        elif is_encoded(source):
            mono, rate = _read(source)
        else:
            raise UnusableError(_no_sound(source))
        if not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
            raise UnusableError(f"a sample rate of {rate} Hz: sounds have {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}")
        if len(mono) == 0:
            raise UnusableError("empty: 0 samples")
        if not np.isfinite(mono).all():
            raise UnusableError("holds samples that are not finite (infinite or not a number)")
        resampled = mono if rate == sample_rate_hz else soxr.resample(mono, rate, sample_rate_hz, quality="HQ")
        if len(resampled) == 0:
            raise UnusableError(f"too short: {len(mono)} samples at {rate} Hz are none at {sample_rate_hz} Hz")
        return np.ascontiguousarray(resampled, dtype=np.float32)


def windows(samples: NDArray[np.float32], window_samples: int) -> list[NDArray[np.float32]]:
    """A sound in consecutive stretches of at most ``window_samples``: every sample is in exactly one.

    samples: (time,). All but the last are of full length, so that their frames stay on one grid. A rest shorter than a
    tenth of a window is too little for a network to hear anything in: it and the window before it are halved instead.
    The length of a window is its number of true samples; nothing is padded here.
    """
    edges = [*range(0, max(1, len(samples)), window_samples), len(samples)]
    if len(edges) > 2 and edges[-1] - edges[-2] < window_samples / 10:
        edges[-2] = (edges[-3] + edges[-1] + 1) // 2
    return [samples[start:stop] for start, stop in pairwise(edges)]


def _read(source: Encoded) -> tuple[NDArray[np.float32], int]:
    with opened(source) as file:
        content = sniff(file)
        if content is not None and content.modality != "audio":
            raise UnusableError(f"not a sound: {looks_like(file)}")
        try:
            return _read_by_libsndfile(file)
        except soundfile.SoundFileError as error:
            if content is None:
                raise UnusableError(f"not a sound that libsndfile reads: {looks_like(file)}") from error
            if content.format in {"m4a", "aac", "amr", "asf", "matroska"}:
                raise UnusableError(
                    f"{content.format}, which libsndfile cannot read: convert it to wav or flac"
                ) from error
            raise UnusableError(f"truncated or damaged: begins as {content.format}, then: {_told(error)}") from error


def _read_by_libsndfile(file: BinaryIO) -> tuple[NDArray[np.float32], int]:
    # By its descriptor: given a name, soundfile takes a suffix such as .raw at its word and asks for more.
    descriptor = file.fileno() if hasattr(file, "name") else file
    with soundfile.SoundFile(descriptor, closefd=False) as sound:
        if sound.frames >= UNKNOWN_FRAMES:
            raise UnusableError("does not say how long it is, as when FLAC is written to a pipe: encode it again")
        mono = np.concatenate([np.zeros(0, np.float32), *_mono_blocks(sound)])
        _check_whole(sound, len(mono), file)
        return mono, sound.samplerate


def _mono_blocks(sound: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    # Not SoundFile.blocks: where a file is truncated it gives uninitialised memory for what is missing.
    while len(block := sound.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
        yield block.mean(axis=1)


def _check_whole(sound: soundfile.SoundFile, read: int, file: BinaryIO) -> None:
    """libsndfile plays what is there of a truncated file without a word; its log and the headers know better."""
    if read < sound.frames:
        raise UnusableError(f"truncated: {read} of {sound.frames} samples")
    for declared, present in re.findall(r": (\d+) \(should be (\d+)\)", sound.extra_info):
        # A few bytes are a sloppy header; a length near 2^31 or 2^32 was never filled in, as when writing to a pipe.
        if int(declared) > int(present) + 8 and int(declared) not in container.UNKNOWN_LENGTHS:
            raise UnusableError(f"truncated: {present} of {declared} bytes")
    if sound.format == "OGG" and not container.ogg_has_end(file):
        raise UnusableError("truncated: the last page of the Ogg stream is missing")


def _told(error: Exception) -> str:
    return str(error).rpartition(": ")[2].rstrip(".")


def _of_memory(source: tuple[Any, ...]) -> tuple[NDArray[np.float32], int]:
    if len(source) != 2 or not isinstance(source[0], np.ndarray) or not _is_rate(source[1]):
        raise UnusableError(_no_sound(source))
    samples, rate = source
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= MAX_CHANNELS):
        raise UnusableError(f"samples of shape {samples.shape}: a sound is (time,) or (time, channel)")
    scaled = _scaled(samples)
    return scaled if scaled.ndim == 1 else scaled.mean(axis=1, dtype=np.float32), int(rate)


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
