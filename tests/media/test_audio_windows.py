"""Overlapping windows start at each multiple of the hop, and do not depend on how the audio arrives."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from layerzoo.media import audio, limits
from layerzoo.media.windows import overlapping_windows

Samples = NDArray[np.float32]


def edges(samples: int, window: int, hop: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each window, as the documentation describes them."""
    start = 0
    while start < samples and (start == 0 or samples - start >= window / 10):
        is_last = samples - (start + window) < window / 10
        yield start, samples if is_last else start + window
        if is_last:
            return
        start += hop


@given(
    st.integers(1, 500), st.integers(1, 90), st.integers(1, 120), st.lists(st.integers(0, 60), min_size=1, max_size=9)
)
def test_windows_lie_on_the_grid_of_the_hop(length: int, window: int, hop: int, sizes: list[int]) -> None:
    samples = np.arange(length, dtype=np.float32)
    pieces = np.split(samples, np.minimum(np.cumsum(sizes), length))
    found = [(int(part[0]), int(part[-1]) + 1) for part in overlapping_windows(pieces, window, hop)]
    assert found == list(edges(length, window, hop))


def test_the_example_of_the_documentation() -> None:
    parts = overlapping_windows([np.arange(101, dtype=np.float32)], 40, 30)
    assert [(part[0], part[-1] + 1) for part in parts] == [(0, 40), (30, 70), (60, 101)]


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_windows_of_audio_that_is_not_kept_equal_those_of_short_audio(
    rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (5 * rate, 2))
    soundfile.write(tmp_path / "a.flac", noise, rate)
    expected = list(audio.decoded_windows(tmp_path / "a.flac", 16_000, 1, 16_000, 8_000))
    monkeypatch.setattr(limits, "_DEFAULT", replace(limits.Limits(), kept_samples=16_000))
    streamed, *found = audio.decoded_windows(tmp_path / "a.flac", 16_000, 1, 16_000, 8_000)
    assert streamed is None
    assert len(found) == len(expected) == 9
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_memory_does_not_grow_with_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_DEFAULT", replace(limits.Limits(), kept_samples=16_000))
    peaks = []
    for minutes in (1, 4):
        soundfile.write(tmp_path / "a.wav", np.zeros(minutes * 60 * 16_000, np.int16), 16_000)
        tracemalloc.start()
        windows = sum(
            part is not None for part in audio.decoded_windows(tmp_path / "a.wav", 16_000, 1, 160_000, 80_000)
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert windows == 12 * minutes - 1
    assert peaks[1] < peaks[0] + (1 << 20)
