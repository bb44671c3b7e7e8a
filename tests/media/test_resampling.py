"""Audio at any sample rate equals the same signal at the rate of the network, up to the end of the band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from layerzoo.media.audio import decode
from layerzoo.media.audio_input import Audio
from layerzoo.media.resample import stages

RATE = 16_000
SECONDS = 4
RATES = [8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 80_000, 96_000, 112_000, 144_000, 176_400, 192_000]
Samples = NDArray[np.float32]


def sweep(rate: int, top_hz: float) -> NDArray[np.float64]:
    """Return a sine from 20 Hz to a frequency, at a sample rate."""
    time = np.arange(rate * SECONDS) / rate
    return np.sin(2 * np.pi * (20 * time + (top_hz - 20) / (2 * SECONDS) * time**2))


def error_db(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Return the power of the difference relative to the power of the signal, without the ends."""
    assert found.shape == expected.shape
    inner = slice(len(found) // 20, -len(found) // 20)
    difference = (found - expected)[inner]
    return float(10 * np.log10(np.mean(difference**2) / np.mean(expected[inner] ** 2)))


@pytest.mark.parametrize("rate", RATES)
def test_a_sine_sweep_has_an_error_below_100_db(rate: int) -> None:
    top_hz = 0.9 * min(rate, RATE) / 2
    found = decode(Audio(sweep(rate, top_hz).astype(np.float32), rate), RATE)
    assert error_db(found, sweep(RATE, top_hz)) < -100


@pytest.mark.parametrize("target", [24_000, 44_100, 48_000])
def test_networks_at_other_rates_receive_the_same_quality(target: int) -> None:
    for rate in (16_000, 44_100, 48_000, 96_000):
        top_hz = 0.9 * min(rate, target) / 2
        found = decode(Audio(sweep(rate, top_hz).astype(np.float32), rate), target)
        assert error_db(found, sweep(target, top_hz)) < -100, rate


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_resampling_agrees_with_scipy(rate: int) -> None:
    divisor = int(np.gcd(rate, RATE))
    up, down = RATE // divisor, rate // divisor
    signal = sweep(rate, 0.8 * min(rate, RATE) / 2)
    half = 100 * max(up, down)
    taps = np.sinc(np.arange(-half, half + 1) / max(up, down)) * np.kaiser(2 * half + 1, 14)
    expected = resample_poly(signal, up, down, window=taps / taps.sum())
    assert error_db(decode(Audio(signal.astype(np.float32), rate), RATE), expected) < -80


def test_content_above_the_band_is_removed() -> None:
    time = np.arange(96_000) / 48_000
    tone = np.sin(2 * np.pi * 9_000 * time).astype(np.float32)
    assert np.abs(decode(Audio(tone, 48_000), RATE)[800:-800]).max() < 1e-5


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_loudness_and_mean_of_channels_are_kept(rate: int, tmp_path: Path) -> None:
    tone = 0.25 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, 3 * tone], axis=1), rate, subtype="FLOAT")
    found = decode(tmp_path / "a.wav", RATE)[1600:-1600]
    assert np.sqrt(np.mean(found**2)) == pytest.approx(0.5 / np.sqrt(2), rel=1e-4)


def test_small_ratios_take_one_stage_and_others_run_at_twice_the_band() -> None:
    assert stages(48_000, 16_000) == [48_000, 16_000]
    assert stages(24_000, 16_000) == [24_000, 16_000]
    assert stages(44_100, 16_000) == [44_100, 32_000, 16_000]
    assert stages(22_050, 16_000) == [22_050, 44_100, 32_000, 16_000]
