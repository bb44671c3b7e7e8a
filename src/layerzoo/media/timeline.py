"""The frames of a video in time, and the choice of those to sample."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from layerzoo.frame_sampling import MOST_FRAMES, FrameSampling
from layerzoo.media.sample import UnusableError


@dataclass(frozen=True, slots=True)
class Timeline:
    """When the frames of a video are displayed.

    A frame is displayed from its own time to that of the next frame, also with a variable frame rate.
    """

    since: NDArray[np.int64]
    """(frame,) when each frame comes on display, after the first one, in units."""
    end: int
    """When the last frame ends."""
    unit_s: Fraction | None
    """A unit in seconds; None for an array, whose frames have numbers and no times."""
    keys: NDArray[np.bool_] | None = None
    """(frame,) whether a frame is a keyframe; None where that is not known."""

    def time_s(self, frame: int) -> float | None:
        """Return when a frame comes on display, in seconds after the first one."""
        return None if self.unit_s is None else float(int(self.since[frame]) * self.unit_s)

    def displayed(self, times: Sequence[Fraction]) -> list[int]:
        """Return the frames on display at some times, in units after the first frame."""
        floors = np.array([time.numerator // time.denominator for time in times], np.int64)
        frames = np.maximum(0, np.searchsorted(self.since, floors, side="right") - 1)
        return [int(frame) for frame in frames]


def chosen_frames(sampling: FrameSampling, timeline: Timeline, cuts: Sequence[int] = ()) -> list[int]:
    """Choose the frames to sample.

    Args:
        sampling: the strategy, the interval and the number of clips.
        timeline: the frames of the video.
        cuts: the first frames of all scenes but the first, for the strategy `scenes`.
    Returns: numbers of frames. They increase, except that a clip may begin before the end of the one before it, and a
        frame may occur several times.
    Raises: UnusableError for an interval without frames, and a strategy that does not fit.
    """
    start, end = _interval(sampling, timeline)
    if sampling.strategy.name in ("uniform", "segments"):
        parts = [start + (end - start) * Fraction(i, sampling.clips) for i in range(sampling.clips + 1)]
        return [
            frame
            for number, (first, last) in enumerate(pairwise(parts))
            for frame in timeline.displayed(_times(sampling, first, last, number))
        ]
    sequence = _sequence(sampling, timeline, start, end, cuts)
    return _clips(sequence, sampling) if sampling.joint else sequence


def _interval(sampling: FrameSampling, timeline: Timeline) -> tuple[Fraction, Fraction]:
    """Return start and end of the sampled interval in units."""
    if timeline.unit_s is None:
        if sampling.start_s or sampling.end_s is not None:
            raise UnusableError("an array has no times, so start and end in seconds do not apply to it. Next: slice it")
        return Fraction(0), Fraction(timeline.end)
    start = _exact(sampling.start_s) / timeline.unit_s
    end = Fraction(timeline.end)
    if start >= end:
        length = float(timeline.end * timeline.unit_s)
        raise UnusableError(
            f"it ends after {length:.2f} s, before the start of the sampled interval, {sampling.start_s:g} s"
        )
    return start, end if sampling.end_s is None else min(end, _exact(sampling.end_s) / timeline.unit_s)


def _exact(seconds: float) -> Fraction:
    """Return the decimal fraction that was written: 0.96, where the float is a little less."""
    return Fraction(repr(float(seconds)))


def _times(sampling: FrameSampling, start: Fraction, end: Fraction, clip: int) -> list[Fraction]:
    """Return one time in each of the equal parts of an interval: its middle, or a random one.

    The random times depend on the seed and the number of the clip alone. Source: Wang et al., "Temporal Segment
    Networks", ECCV 2016, section 3.1.
    """
    count, seed = sampling.count, sampling.strategy.seed
    if seed is None:
        return [start + (end - start) * Fraction(2 * i + 1, 2 * count) for i in range(count)]
    numbers = random.Random(f"{seed} {clip}")
    return [start + (end - start) * (i + Fraction(numbers.random())) / count for i in range(count)]


def _sequence(
    sampling: FrameSampling, timeline: Timeline, start: Fraction, end: Fraction, cuts: Sequence[int]
) -> list[int]:
    name, number, _ = sampling.strategy
    first = int(np.searchsorted(timeline.since, -((-start.numerator) // start.denominator)))
    last = int(np.searchsorted(timeline.since, -((-end.numerator) // end.denominator)))
    if name == "fps":
        return _at_rate(timeline, start, end, number or Fraction(1))
    if name == "scenes":
        return _of_scenes(timeline, start, end, cuts)
    if name == "keyframes":
        if timeline.keys is None:
            raise UnusableError("an array has no keyframes. Next: sampling='uniform' or 'every:N'")
        keys = first + np.flatnonzero(timeline.keys[first:last])
        if not len(keys):
            raise UnusableError("no keyframe is displayed in the sampled interval")
        return [int(frame) for frame in keys]
    # A frame that is displayed longer than the interval comes on display before it.
    return list(range(first, last, int(number or 1))) or timeline.displayed([start])


def _at_rate(timeline: Timeline, start: Fraction, end: Fraction, rate: Fraction) -> list[int]:
    if timeline.unit_s is None:
        raise UnusableError("an array has no times, so a rate does not apply to it. Next: sampling='every:N'")
    step = 1 / (rate * timeline.unit_s)
    count = -(-(end - start) // step)
    if count > MOST_FRAMES:
        raise UnusableError(f"a rate of {float(rate):g} samples {count:,} frames of it; the limit is {MOST_FRAMES:,}")
    return timeline.displayed([start + i * step for i in range(int(count))])


def _of_scenes(timeline: Timeline, start: Fraction, end: Fraction, cuts: Sequence[int]) -> list[int]:
    """Return the frame on display in the middle of each scene, or of the part of it in the interval."""
    times = [Fraction(int(timeline.since[cut])) for cut in cuts]
    edges = [start, *(time for time in times if start < time < end), end]
    return timeline.displayed([(first + last) / 2 for first, last in pairwise(edges)])


def _clips(sequence: list[int], sampling: FrameSampling) -> list[int]:
    """Return clips of consecutive frames of a sequence, with their centres in the middles of equal parts of it.

    The last frame of a shorter sequence is repeated.
    """
    size, count = sampling.frames, sampling.clips
    padded = sequence + sequence[-1:] * (size - len(sequence))
    free = len(padded) - size
    starts = [free * (2 * i + 1) // (2 * count) for i in range(count)]
    return [frame for start in starts for frame in padded[start : start + size]]
