"""The right frames are sampled from unusual containers. Frames show their own time in their pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests.media.clocks import HEIGHT, WIDTH, clock, read, video

from layerzoo.errors import SampleError
from layerzoo.frame_sampling import FrameSampling
from layerzoo.media.sniff import kind_of_file
from layerzoo.media.video import Frame, sample_frames

TWO_SECONDS = range(0, 2000, 40)


def sampled(source: Any, sampling: str = "uniform:4", **options: Any) -> list[Frame]:
    return sample_frames(source, FrameSampling(sampling=sampling, **options))


def shown(source: Any, sampling: str = "uniform:4", **options: Any) -> list[int]:
    """Return the numbers in the pixels of the sampled frames."""
    return [read(frame.image) for frame in sampled(source, sampling, **options)]


def times_ms(source: Any, sampling: str = "uniform:4", **options: Any) -> list[int]:
    return [round(1000 * (frame.time_s or 0)) for frame in sampled(source, sampling, **options)]


def remuxed(
    data: bytes,
    format: str,
    *,
    stamp: Callable[[int], int] = lambda pts: pts,
    options: dict[str, str] | None = None,
    change: Callable[[av.VideoStream], None] | None = None,
) -> bytes:
    """Copy the packets of a video to another container, with other timestamps."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=format, options=options or {}) as container:
        copy = container.add_stream_from_template(source.streams.video[0])
        if change is not None:
            change(copy)
        for packet in source.demux(video=0):
            if packet.dts is not None and packet.pts is not None:
                packet.pts, packet.dts = stamp(packet.pts), stamp(packet.dts)
                packet.stream = copy
                container.mux(packet)
    return file.getvalue()


FORMATS = [
    ("mp4", "libx264"), ("mov", "mjpeg"), ("matroska", "libx264"), ("webm", "libvpx-vp9"), ("webm", "libvpx"),
    ("avi", "mpeg4"), ("avi", "libx264"), ("mpegts", "libx264"), ("mpegts", "mpeg2video"), ("mpeg", "mpeg2video"),
    ("flv", "flv"), ("asf", "msmpeg4"), ("ogg", "libtheora"), ("matroska", "libsvtav1"), ("mov", "prores_ks"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "codec"), FORMATS)
@pytest.mark.parametrize("sampling", ["uniform:4", "every:12", "fps:2"])
def test_every_container_and_codec(format: str, codec: str, sampling: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    pixels = {"prores_ks": "yuv422p10le", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    data = video(TWO_SECONDS, format, codec, pixel_format=pixels)
    expected = {
        "uniform:4": [240, 720, 1240, 1720],
        "every:12": [0, 480, 960, 1440, 1920],
        "fps:2": [0, 480, 1000, 1480],
    }
    assert shown(data, sampling) == expected[sampling]
    assert times_ms(data, sampling) == pytest.approx(expected[sampling], abs=1)


def test_vp8_in_ogg_is_a_video() -> None:
    data = video(TWO_SECONDS, "ogg", "libvpx")
    assert shown(data, "every:12") == [0, 480, 960, 1440, 1920]


@pytest.mark.parametrize("format", ["avi", "matroska"])
def test_a_keyframe_is_at_the_time_at_which_it_is_displayed_also_after_frames_decoded_later(format: str) -> None:
    data = video(TWO_SECONDS, format, "mpeg4", gop=10, codec_options={"bf": "2"})
    assert shown(data, "keyframes") == times_ms(data, "keyframes")
    assert len(shown(data, "keyframes")) > 3


@pytest.mark.parametrize(("format", "codec"), [("mp4", "libx264"), ("matroska", "libvpx-vp9"), ("flv", "flv")])
def test_a_variable_frame_rate_is_sampled_in_time(format: str, codec: str) -> None:
    stamps = [0, 40, 80, 1200, 1240, 1280, 1960]
    data = video(stamps, format, codec)
    assert shown(data, "fps:2", end_s=1.96) == [0, 80, 80, 1280]
    assert shown(data, "every:2") == times_ms(data, "every:2") == [0, 80, 1240, 1960]


@pytest.mark.parametrize("shift", [-333, 5000])
@pytest.mark.parametrize("format", ["matroska", "mpegts"])
def test_times_count_from_the_first_frame_also_with_negative_timestamps(format: str, shift: int) -> None:
    source = video(TWO_SECONDS, "matroska", "mpeg2video")
    data = remuxed(source, format, stamp=lambda pts: pts + shift, options={"avoid_negative_ts": "disabled"})
    assert shown(data) == times_ms(data) == [240, 720, 1240, 1720]
    assert shown(data, "every:15", start_s=0.5) == [520, 1120, 1720]


@pytest.mark.parametrize(("format", "codec"), [("mpegts", "libx264"), ("mpegts", "mpeg2video"), ("mpeg", "mpeg2video")])
def test_files_that_were_joined_follow_one_another_in_time(format: str, codec: str) -> None:
    parts = [video(range(0, 1000, 40), format, codec, show=range(start, start + 25)) for start in (100, 200)]
    data = b"".join(parts)
    assert shown(data, "uniform:4") == [106, 118, 206, 218]
    assert times_ms(data, "every:1") == pytest.approx(list(range(0, 2000, 40)), abs=1)


def test_an_edit_list_hides_frames_before_its_start() -> None:
    """Negative timestamps in an MP4 become an edit list, which starts in the middle of a group of pictures."""
    source = video(TWO_SECONDS, "mp4", gop=20, codec_options={"bf": "2"})
    with av.open(io.BytesIO(source)) as opened:
        unit = float(opened.streams.video[0].time_base or 0)
    data = remuxed(source, "mp4", stamp=lambda pts: pts - round(0.4 / unit))
    with av.open(io.BytesIO(data)) as opened:
        assert any(packet.is_discard for packet in opened.demux(video=0) if packet.size)
    assert shown(data, "every:20") == [400, 1200]
    assert times_ms(data, "every:20") == [0, 800]
    assert shown(data, "uniform:4") == [600, 1000, 1400, 1800]


@pytest.mark.parametrize(
    ("degrees", "flips"), [(90, {}), (-90, {}), (180, {}), (0, {"hflip": True}), (0, {"vflip": True})]
)
def test_rotation_and_mirroring_are_applied(degrees: int, flips: dict[str, bool]) -> None:
    data = remuxed(video(TWO_SECONDS), "mp4", change=lambda stream: stream.set_display_rotation(degrees, **flips))
    undo = {90: Image.Transpose.ROTATE_270, -90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180}.get(
        degrees, Image.Transpose.FLIP_LEFT_RIGHT if "hflip" in flips else Image.Transpose.FLIP_TOP_BOTTOM
    )
    frames = sampled(data)
    assert {frame.image.size for frame in frames} == {(HEIGHT, WIDTH) if abs(degrees) == 90 else (WIDTH, HEIGHT)}
    assert [read(frame.image.transpose(undo)) for frame in frames] == [240, 720, 1240, 1720]


@pytest.mark.parametrize("format", ["mp4", "matroska"])
@pytest.mark.parametrize(("aspect", "width"), [(Fraction(4, 3), 171), (Fraction(1, 2), 64), (Fraction(1), 128)])
def test_pixels_that_are_not_square_are_made_square(format: str, aspect: Fraction, width: int) -> None:
    frames = sampled(video(TWO_SECONDS, format, aspect=aspect))
    assert {frame.image.size for frame in frames} == {(width, HEIGHT)}
    assert [read(frame.image) for frame in frames] == [240, 720, 1240, 1720]


def test_both_fields_of_an_interlaced_frame_are_kept() -> None:
    """The two fields have different numbers, each in its own lines."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "b": "4M"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(20):
            pixels = clock(1000 + i)
            pixels[1::2] = clock(3000 + i)[1::2]
            frame: Any = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frame = sampled(file.getvalue(), "every:7")[1]
    lines = np.asarray(frame.image)
    assert read(Image.fromarray(lines[0::2])) == 1007
    assert read(Image.fromarray(lines[1::2])) == 3007


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p10le", "yuv444p12le"])
def test_ten_and_twelve_bits_are_rounded_to_eight(pixel_format: str) -> None:
    data = video(TWO_SECONDS, "matroska", "ffv1", pixel_format=pixel_format)
    frames = sampled(data)
    assert [read(frame.image) for frame in frames] == [240, 720, 1240, 1720]
    exact = np.abs(np.asarray(frames[0].image, int) - clock(240).astype(int))
    assert exact.max() <= 2


def test_hdr_is_not_tone_mapped() -> None:
    """The code values of PQ video are kept: a display-referred image of them is darker than a tone-mapped one."""
    data = video(
        TWO_SECONDS, "matroska", "libx265", pixel_format="yuv420p10le",
        codec_options={"x265-params": "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none"},
    )  # fmt: skip
    frames = sampled(data)
    assert [read(frame.image) for frame in frames] == [240, 720, 1240, 1720]


@pytest.mark.parametrize("format", ["mp4", "gif", "matroska"])
def test_a_video_of_one_frame(format: str) -> None:
    data = video([0], format, "gif" if format == "gif" else "libx264", show=[77],
                 pixel_format="rgb8" if format == "gif" else "yuv420p")  # fmt: skip
    assert shown(data, "uniform:3") == [77, 77, 77]
    for sampling in ("fps:2", "every:3", "segments:1:5", "keyframes"):
        assert shown(data, sampling) == [77]


def animation(format: str, durations_ms: Sequence[int], **options: Any) -> bytes:
    frames = [Image.fromarray(clock(300 + i)) for i in range(len(durations_ms))]
    file = io.BytesIO()
    frames[0].save(
        file, format, save_all=True, append_images=frames[1:], duration=list(durations_ms), **options
    )  # fmt: skip
    return file.getvalue()


@pytest.mark.parametrize(
    ("format", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {"quality": 95})]
)
def test_an_animation_is_a_video_for_a_video_model(format: str, options: dict[str, Any], tmp_path: Any) -> None:
    data = animation(format, [100, 300, 100, 100, 400], **options)
    frames = sampled(data, "every:1")
    assert [read(frame.image) for frame in frames] == [300, 301, 302, 303, 304]
    if format != "AVIF":  # Pillow writes AVIF with its own clock
        assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.4, 0.5, 0.6])
        assert shown(data, "fps:5") == [300, 301, 302, 304, 304]
        assert shown(data, start_s=0.45) == [303, 304, 304, 304]
    path = tmp_path / f"x.{format.lower()}"
    path.write_bytes(data)
    assert kind_of_file(path) == "vision"


@pytest.mark.parametrize("format", ["PNG", "WEBP", "AVIF", "JPEG"])
def test_an_image_without_animation_is_no_video(format: str) -> None:
    file = io.BytesIO()
    Image.fromarray(clock(1)).save(file, format)
    with pytest.raises(SampleError, match="looks like an image"):
        sampled(file.getvalue())


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "PNG", "GIF"])
def test_a_truncated_animation_fails(format: str) -> None:
    data = animation(format, [100] * 5)
    with pytest.raises(SampleError):
        sampled(data[: len(data) // 2], "every:1")


@pytest.mark.parametrize(("format", "codec", "pixel_format"), [("mov", "png", "rgba"), ("mov", "qtrle", "argb"),
                                                                ("matroska", "ffv1", "yuva444p")])  # fmt: skip
def test_a_transparent_video_is_composited_over_white(format: str, codec: str, pixel_format: str) -> None:
    """The colors are black everywhere: the number is in the alpha channel."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        for i in range(30):
            pixels = np.dstack([np.zeros((HEIGHT, WIDTH, 3), np.uint8), 255 - clock(500 + i)[:, :, 0]])
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pixel_format)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert shown(file.getvalue(), "every:10") == [500, 510, 520]


def with_second_stream(cover: bool, first: bool) -> bytes:
    """Write a clip with a second video stream, larger or a cover image, before or after it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4" if not cover else "matroska") as container:

        def add(other: bool) -> av.VideoStream:
            stream = container.add_stream("mjpeg" if other and cover else "libx264", rate=25)
            stream.width, stream.height = WIDTH * (1 + other), HEIGHT * (1 + other)
            stream.pix_fmt = "yuvj420p" if other and cover else "yuv420p"
            if other and cover:
                stream.disposition = av.stream.Disposition.attached_pic
            return stream

        streams = {other: add(other) for other in ([True, False] if first else [False, True])}
        for i in range(50):
            for other, stream in streams.items():
                if not (other and cover and i):
                    pixels = clock(40 * i + (7 if other else 0), stream.width, stream.height)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for stream in streams.values():
            container.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize("first", [True, False])
def test_of_two_video_streams_the_best_one_according_to_ffmpeg_is_sampled(first: bool) -> None:
    data = with_second_stream(cover=False, first=first)
    with av.open(io.BytesIO(data)) as container:
        best: Any = container.streams.best("video")
        is_larger = best.width > WIDTH
    frames = sampled(data)
    assert {frame.image.width for frame in frames} == {WIDTH * (1 + is_larger)}
    assert [read(frame.image) - 7 * is_larger for frame in frames] == [240, 720, 1240, 1720]


@pytest.mark.parametrize("first", [True, False])
def test_a_cover_image_is_not_sampled(first: bool) -> None:
    assert shown(with_second_stream(cover=True, first=first)) == [240, 720, 1240, 1720]


def test_a_container_without_a_duration() -> None:
    live = video(TWO_SECONDS, "matroska", options={"live": "1"})
    with av.open(io.BytesIO(live)) as container:
        assert container.duration is None
    for sampling, expected in (("uniform:4", [240, 720, 1240, 1720]), ("every:25", [0, 1000]), ("fps:1", [0, 1000])):
        assert shown(live, sampling) == expected


def test_a_fragmented_mp4() -> None:
    data = video(TWO_SECONDS, "mp4", options={"movflags": "frag_keyframe+empty_moov"})
    assert shown(data) == times_ms(data) == [240, 720, 1240, 1720]
    assert shown(data, "every:20", start_s=0.8) == [800, 1600]


@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
@pytest.mark.parametrize(("format", "codec"), [("mp4", "libx264"), ("matroska", "libx264"), ("webm", "libvpx"),
                                               ("avi", "mpeg4"), ("asf", "msmpeg4")])  # fmt: skip
def test_a_truncated_file_fails_for_every_strategy(format: str, codec: str, share: float) -> None:
    data = video(TWO_SECONDS, format, codec)
    for sampling in ("uniform:4", "every:10", "fps:2", "keyframes"):
        with pytest.raises(SampleError, match="truncated"):
            sampled(data[: int(share * len(data))], sampling)


def test_a_damaged_group_of_pictures_fails_only_where_it_is_sampled() -> None:
    data = bytearray(video(TWO_SECONDS, "matroska", gop=10, codec_options={"bf": "0"}))
    with av.open(io.BytesIO(bytes(data))) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
        at, size = packet.pos, packet.size
    data[at + 20 : at + 20 + size - 30] = bytes(size - 30)
    assert shown(bytes(data), "fps:2", end_s=1) == [0, 480]


def test_frames_that_packets_do_not_announce_are_decoded_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fields of interlaced H.264 in a transport stream have times of their own."""
    from layerzoo.media import video as decoding

    runs: list[object] = []
    in_order = decoding._decoded_timeline
    monkeypatch.setattr(decoding, "_decoded_timeline", lambda *given: runs.append(given) or in_order(*given))
    data = video(TWO_SECONDS, "mpegts", codec_options={"flags": "+ildct+ilme", "x264-params": "interlaced=1"})
    assert shown(data, "every:10") == [0, 400, 800, 1200, 1600]
    assert runs
    assert shown(data) == [240, 720, 1240, 1720]
