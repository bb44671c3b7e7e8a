"""Divide audio that is decoded in pieces into windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def overlapping_windows(
    pieces: Iterable[NDArray[np.float32]], window_samples: int, hop_samples: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the windows of audio that start at each multiple of a hop, until one reaches the end.

    The last window is shorter if the audio ends in it. A rest shorter than a tenth of a window is too little for a
    network: it belongs to the window before it, which is longer then. If the hop is longer than a window, the audio
    between windows is in none, and neither is such a rest.

    Example: audio of 101 samples in windows of 40 with a hop of 30 gives 0..40, 30..70 and 60..101.

    Args:
        pieces: the audio in order, (time,) or (time, channel). About three windows of it are kept.
        window_samples: the length of a window.
        hop_samples: from the start of a window to the start of the next.
    """
    least = window_samples / 10
    buffered: list[NDArray[np.float32]] = []
    length = first = start = 0  # first: the position of the first sample that is held
    for piece in pieces:
        buffered.append(piece)
        length += len(piece)
        if first + length < start + 3 * window_samples:
            continue
        samples = joined(buffered)
        while first + length - (start + window_samples) >= least:
            yield samples[start - first : start - first + window_samples].copy()
            start += hop_samples
        cut = min(start - first, length)
        buffered, length, first = [samples[cut:].copy()], length - cut, first + cut
    samples, end = joined(buffered), first + length
    while start < end and (start == 0 or end - start >= least):
        stop = start + window_samples if end - (start + window_samples) >= least else end
        yield samples[start - first : stop - first]
        if stop == end:
            return
        start += hop_samples


def windows(samples: NDArray[np.float32], window_samples: int) -> list[NDArray[np.float32]]:
    """Decode audio in consecutive windows of at most ``window_samples`` samples: every sample is in exactly one.

    samples: (time,) or (time, channel). All but the last are of full length, so that their frames stay on one grid. A
    rest shorter than a tenth of a window is too little for a network: it and the window before it are halved instead.
    The length of a window is its number of true samples; nothing is padded here.
    """
    edges = [*range(0, max(1, len(samples)), window_samples), len(samples)]
    if len(edges) > 2 and edges[-1] - edges[-2] < window_samples / 10:
        edges[-2] = (edges[-3] + edges[-1] + 1) // 2
    return [samples[start:stop] for start, stop in pairwise(edges)]


def consecutive_windows(pieces: Iterable[NDArray[np.float32]], window_samples: int) -> Iterator[NDArray[np.float32]]:
    """Yield the windows of :func:`windows` from audio in pieces. Two are kept, because the last may be short."""
    buffered: list[NDArray[np.float32]] = []
    length = 0
    for piece in pieces:
        buffered.append(piece)
        length += len(piece)
        if length > 3 * window_samples:
            samples = joined(buffered)
            stop = (length // window_samples - 2) * window_samples
            for start in range(0, stop, window_samples):
                yield samples[start : start + window_samples].copy()
            buffered, length = [samples[stop:].copy()], length - stop
    yield from windows(joined(buffered), window_samples)


def joined(pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    samples = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return np.ascontiguousarray(samples, dtype=np.float32)
