"""Each kind of unusual audio has a named error that states the reason, or a documented result."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from layerzoo.errors import SampleError
from layerzoo.media.audio import decode
from layerzoo.media.audio_input import Audio
from layerzoo.media.samples import samples

RATE = 16_000
TONE = (0.5 * np.sin(np.arange(RATE) / 9)).astype(np.float32)


def wav(waveform: NDArray[Any], subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, RATE, format="WAV", subtype=subtype)
    return file.getvalue()


def refusal(source: Any) -> str:
    with pytest.raises(SampleError) as caught:
        decode(source, RATE)
    return caught.value.reason


def movie(path: Path, *, picture: bool, sound: bool) -> Path:
    """Write an MP4 file of one second."""
    with av.open(str(path), "w", format="mp4") as container:
        if picture:
            video: Any = container.add_stream("mpeg4", rate=5)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        if sound:
            track: Any = container.add_stream("aac", rate=RATE, layout="mono")
        if picture:
            for number in range(5):
                frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (40 * number, 90, 30)))
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if sound:
            frame_of_audio = av.AudioFrame.from_ndarray(TONE[None], format="fltp", layout="mono")
            frame_of_audio.sample_rate, frame_of_audio.time_base = RATE, Fraction(1, RATE)
            container.mux(track.encode(frame_of_audio))
            container.mux(track.encode(None))
    return path


@pytest.mark.parametrize("length", [1, 320])
def test_very_short_audio_is_decoded(length: int) -> None:
    assert len(decode(wav(TONE[:length]), RATE)) == length


def test_silence_is_decoded() -> None:
    assert not decode(wav(0 * TONE), RATE).any()


@pytest.mark.parametrize("channels", [2, 32])
def test_channels_are_mixed_to_their_mean(channels: int) -> None:
    waveform = np.random.default_rng(0).normal(0, 0.1, (RATE, channels)).astype(np.float32)
    np.testing.assert_array_equal(decode(wav(waveform), RATE), waveform.mean(axis=1, dtype=np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(bad: float) -> None:
    waveform = TONE.copy()
    waveform[7] = bad
    for source in (wav(waveform), Audio(waveform, RATE)):
        assert refusal(source) == "holds samples that are not finite (infinite or not a number)"


def test_empty_audio_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert refusal(tmp_path / "a.wav") == "empty file"
    assert refusal(wav(TONE[:0])) == "empty: 0 samples"


def test_a_header_that_declares_more_than_the_file_has_is_refused() -> None:
    data = bytearray(wav(TONE, "PCM_16"))
    at = data.find(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 4 * RATE)
    assert refusal(bytes(data)).startswith("truncated")


def test_of_a_header_that_declares_less_than_the_file_has_the_declared_samples_are_read() -> None:
    data = bytearray(wav(TONE, "PCM_16"))
    at = data.find(b"data") + 4
    data[at : at + 4] = struct.pack("<I", RATE)
    assert len(decode(bytes(data), RATE)) == RATE // 2


def test_a_truncated_file_is_refused() -> None:
    data = wav(TONE, "PCM_16")
    assert refusal(data[: len(data) // 2]).startswith("truncated")


def test_the_audio_track_of_a_video_is_audio(tmp_path: Path) -> None:
    found = decode(movie(tmp_path / "a.mp4", picture=True, sound=True), RATE)
    assert abs(len(found) - RATE) <= 2048
    inner = slice(2000, 14_000)
    spectrum, expected = (np.abs(np.fft.rfft(waveform[inner])) for waveform in (found, TONE))
    assert spectrum.argmax() == expected.argmax()
    assert spectrum.max() == pytest.approx(expected.max(), rel=0.02)


def test_a_video_without_audio_and_an_m4a_with_only_an_image_are_refused(tmp_path: Path) -> None:
    for name in ("silent.mp4", "cover.m4a"):
        assert refusal(movie(tmp_path / name, picture=True, sound=False)) == (
            "no audio stream: looks like a video (mp4)"
        )


def test_a_folder_of_videos_is_audio_for_an_audio_model(tmp_path: Path) -> None:
    movie(tmp_path / "talk.mp4", picture=True, sound=True)
    soundfile.write(tmp_path / "a.wav", TONE, RATE)
    Image.new("RGB", (9, 9)).save(tmp_path / "cover.png")
    found = samples(tmp_path, "audio")
    names = [Path(item.id).name for item in found]
    assert names == ["a.wav", "talk.mp4"]
    assert [Path(name).name for name in found.passed_over] == ["cover.png"]
