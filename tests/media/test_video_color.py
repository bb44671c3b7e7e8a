"""Frames have the declared colors of the video, alpha is composited over white, and FFmpeg's best stream is used."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from layerzoo.errors import SampleError
from layerzoo.media.video import sample_frames

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40), (30, 180, 220)]
# Weights of red and blue in luma, by the number of the matrix in ITU-T H.273, table 4.
WEIGHTS = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
           9: (0.2627, 0.0593)}  # fmt: skip
LIMITED, FULL = 1, 2
SIZE = 64


def yuv(rgb: tuple[int, ...], matrix: int, is_full: bool, bits: int) -> list[int]:
    """Convert RGB to YUV. Source: ITU-T H.273, equations 38 to 43 and 25 to 30."""
    red, blue = WEIGHTS[matrix]
    r, g, b = (value / 255 for value in rgb)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
    top = 2**bits - 1
    if is_full:
        values = [luma * top, *(c * top + 2 ** (bits - 1) for c in chroma)]
    else:
        values = [(219 * luma + 16) * 2 ** (bits - 8), *((224 * c + 128) * 2 ** (bits - 8) for c in chroma)]
    return [min(top, max(0, round(value))) for value in values]


def clip(
    pixel_format: str,
    matrix: int = 2,
    range_: int = 0,
    *,
    format: str = "matroska",
    codec: str = "ffv1",
    options: dict[str, str] | None = None,
) -> bytes:
    """Write a second of video whose i-th frame has the i-th color, in planes computed here."""
    bits = av.VideoFormat(pixel_format).components[0].bits
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, pixel_format
        context: Any = stream.codec_context
        context.colorspace, context.color_range = matrix, range_
        for i, rgb in enumerate(COLORS):
            frame: Any = av.VideoFrame(SIZE, SIZE, pixel_format)
            for plane, value in zip(frame.planes, planes(pixel_format, rgb, matrix, range_ == FULL, bits), strict=True):
                row = np.full(plane.line_size // (2 if bits > 8 else 1), value, np.uint16 if bits > 8 else np.uint8)
                plane.update(np.tile(row, (plane.height, 1)).tobytes())
            frame.colorspace, frame.color_range = matrix, range_
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def planes(pixel_format: str, rgb: tuple[int, ...], matrix: int, is_full: bool, bits: int) -> list[int]:
    if pixel_format.startswith("gbr"):
        red, green, blue = (round(value / 255 * (2**bits - 1)) for value in rgb)
        return [green, blue, red]
    values = yuv(rgb, matrix, is_full, bits)
    return [*values, 2**bits - 1] if pixel_format.startswith("yuva") else values


def worst(data: bytes) -> float:
    """Return the largest difference of a frame from its color, in levels of 255."""
    frames = sample_frames(data, len(COLORS))
    return max(
        float(np.abs(np.asarray(frame.image).astype(float) - rgb).max())
        for frame, rgb in zip(frames, COLORS, strict=True)
    )


class TestColors:
    @pytest.mark.parametrize("matrix", WEIGHTS)
    @pytest.mark.parametrize("range_", [LIMITED, FULL])
    @pytest.mark.parametrize(
        "pixel_format", ["yuv420p", "yuv444p", "yuv422p", "yuv420p10le", "yuv444p12le", "yuva420p"]
    )
    def test_the_declared_matrix_and_range(self, pixel_format: str, range_: int, matrix: int) -> None:
        assert worst(clip(pixel_format, matrix, range_)) <= 3

    @pytest.mark.parametrize(
        ("format", "codec", "pixel_format", "options"),
        [("mp4", "libx264", "yuv420p", {"qp": "0"}), ("mp4", "libx264", "yuv444p", {"qp": "0"}),
         ("mp4", "libx265", "yuv420p10le", {"x265-params": "lossless=1:log-level=none"}),
         ("webm", "libvpx-vp9", "yuv420p", {"lossless": "1"})],
    )  # fmt: skip
    @pytest.mark.parametrize(("matrix", "range_"), [(1, LIMITED), (1, FULL), (6, LIMITED), (9, LIMITED)])
    def test_web_codecs(
        self, format: str, codec: str, pixel_format: str, options: dict[str, str], matrix: int, range_: int
    ) -> None:
        assert worst(clip(pixel_format, matrix, range_, format=format, codec=codec, options=options)) <= 3

    def test_undeclared_colors_are_bt_601_with_limited_range(self) -> None:
        assert worst(clip("yuv444p")) <= 2

    @pytest.mark.parametrize("pixel_format", ["gbrp10le", "gbrp12le", "gbrp16le"])
    def test_rgb(self, pixel_format: str) -> None:
        assert worst(clip(pixel_format, 2)) <= 1

    def test_a_color_space_that_ffmpeg_does_not_convert_is_named(self) -> None:
        WEIGHTS[8] = WEIGHTS[6]
        try:
            with pytest.raises(SampleError, match="matrix coefficients YCgCo"):
                sample_frames(clip("yuv444p", 8, LIMITED), 1)
        finally:
            del WEIGHTS[8]


def transparent(codec: str, format: str, pixel_format: str, options: dict[str, str]) -> bytes:
    """The left is opaque, the upper right half transparent, the lower right transparent."""
    pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
    pixels[..., :2] = 200, 30
    pixels[:, :32, 3] = 255
    pixels[:32, 32:, 3] = 128
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, pixel_format
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pixel_format)
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


class TestAlpha:
    @pytest.mark.parametrize(
        ("codec", "format", "pixel_format", "options"),
        [("libvpx", "webm", "yuva420p", {"auto-alt-ref": "0"}),
         ("libvpx-vp9", "webm", "yuva420p", {"auto-alt-ref": "0"}),
         ("ffv1", "matroska", "yuva420p", {}), ("ffv1", "matroska", "bgra", {}), ("qtrle", "mov", "argb", {}),
         ("prores_ks", "mov", "yuva444p10le", {"profile": "4444"}), ("png", "mov", "rgba", {})],
    )  # fmt: skip
    def test_it_is_composited_over_white(
        self, codec: str, format: str, pixel_format: str, options: dict[str, str]
    ) -> None:
        for frame in sample_frames(transparent(codec, format, pixel_format, options), 3):
            pixels = np.asarray(frame.image).astype(int)
            for (y, x), color in {(16, 16): (200, 30, 0), (16, 48): (227, 142, 127), (48, 48): (255, 255, 255)}.items():
                assert np.abs(pixels[y, x] - color).max() <= 4

    @pytest.mark.parametrize("pixel_format", ["yuva420p", "yuva422p", "yuva444p"])
    def test_every_column_of_an_odd_width_is_that_of_the_frame(self, pixel_format: str) -> None:
        pixels = np.full((8, 321, 4), (200, 30, 90, 255), np.uint8)
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as container:
            stream = container.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 321, 8, pixel_format
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pixel_format)
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        for _ in range(3):
            (found,) = sample_frames(file.getvalue(), 1)
            assert np.abs(np.asarray(found.image).astype(int) - pixels[..., :3]).max() <= 4

    def test_the_times_are_those_of_the_container(self) -> None:
        data = transparent("libvpx-vp9", "webm", "yuva420p", {"auto-alt-ref": "0"})
        assert [frame.time_s for frame in sample_frames(data, 3)] == pytest.approx([0, 0.1, 0.2])


class TestStreams:
    @pytest.mark.parametrize("best", [0, 1])
    def test_the_best_of_two_video_streams_is_decoded(self, best: int) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as container:
            streams = []
            for number in range(2):
                stream = container.add_stream("ffv1", rate=10)
                stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
                stream.disposition = av.stream.Disposition.default if number == best else av.stream.Disposition(0)
                streams.append(stream)
            for _ in range(3):
                for number, stream in enumerate(streams):
                    level = 250 if number == best else 5
                    frame = av.VideoFrame.from_ndarray(np.full((SIZE, SIZE, 3), level, np.uint8), format="rgb24")
                    container.mux(stream.encode(frame))
            for stream in streams:
                container.mux(stream.encode())
        with av.open(io.BytesIO(file.getvalue())) as container:
            chosen = container.streams.best("video")
            assert chosen is not None
            assert chosen.index == best
        assert np.asarray(sample_frames(file.getvalue(), 1)[0].image).mean() > 240

    @pytest.mark.parametrize("cover_first", [True, False])
    def test_a_cover_image_is_not_a_video_stream(self, cover_first: bool) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            kinds = ["cover", "video"] if cover_first else ["video", "cover"]
            streams = {}
            for kind in kinds:
                stream = container.add_stream("mjpeg" if kind == "cover" else "libx264", rate=10)
                side = 4 * SIZE if kind == "cover" else SIZE
                stream.width, stream.height = side, side
                stream.pix_fmt = "yuvj420p" if kind == "cover" else "yuv420p"
                streams[kind] = stream
            streams["cover"].disposition = av.stream.Disposition.attached_pic
            black = np.zeros((4 * SIZE, 4 * SIZE, 3), np.uint8)
            container.mux(streams["cover"].encode(av.VideoFrame.from_ndarray(black, format="rgb24")))
            for _ in range(3):
                white = av.VideoFrame.from_ndarray(np.full((SIZE, SIZE, 3), 255, np.uint8), format="rgb24")
                container.mux(streams["video"].encode(white))
            for stream in streams.values():
                container.mux(stream.encode())
        assert np.asarray(sample_frames(file.getvalue(), 1)[0].image).mean() > 240
