"""Decode videos to frames sampled uniformly in time."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from numpy.typing import NDArray
from PIL import Image

from layerzoo.errors import UsageError
from layerzoo.media import container, progress
from layerzoo.media.image import over_white
from layerzoo.media.limits import limits
from layerzoo.media.orientation import upright_by_matrix
from layerzoo.media.sample import UnusableError, failing_as, name_of
from layerzoo.media.sniff import looks_like, sniff
from layerzoo.media.source import Encoded, is_encoded, opened

VideoSource = Encoded | NDArray[np.uint8]

# Containers with timestamps. No playlists (hls, concat, dash), which make FFmpeg open other files; no bare streams.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf,gif"

_THREADS = min(4, os.cpu_count() or 1)
"""Each decodes and keeps one frame."""
_LARGE_FRAME = 9_000_000
"""Pixels. Such frames are decoded by one thread: a decoder keeps up to 16 for reference already."""
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# By their number in ITU-T H.273, table 4: those that libswscale does not convert.
_MATRICES = {8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE ST 2085", 14: "ICtCp"}


class Frame(NamedTuple):
    """One sampled frame.

    Attributes:
        time_s: the time at which it is displayed, in seconds after the first frame; None for an array.
        image: RGB, upright.
    """

    time_s: float | None
    image: Image.Image


def sample_frames(source: VideoSource, count: int) -> list[Frame]:
    """Sample frames uniformly in time: those on display in the middles of ``count`` equal parts of the video.

    A frame is on display from its own timestamp to the next one's, also with a variable frame rate. If a video has
    fewer frames than ``count``, some are sampled several times. Memory is bounded by the sampled frames.
    Of several video streams FFmpeg's best is taken. Colors are converted with the matrix and range that the video
    declares (BT.601 of limited range where it declares none, as FFmpeg does); an alpha channel is composited over
    white. Pixels are taken as stored: the pixel aspect ratio is not applied.

    Args:
        source: a path, the bytes of a file, or an array (time, height, width, 3) of uint8.
        count: the number of frames.
    Raises: SampleError when it is empty, truncated, damaged, has no video stream, or colors that FFmpeg cannot convert.
    """
    return [frame for frame, times in sampled(source, count) for _ in range(times)]


def sampled(source: VideoSource, count: int) -> Iterator[tuple[Frame, int]]:
    """Yield the frames of :func:`sample_frames`, one after the other, each with how many times it is sampled.

    Only one of them is in memory, next to those that the decoder keeps.
    """
    if count < 1:
        raise UsageError(f"{count} frames cannot be sampled from a video: at least 1")
    with failing_as(name_of(source)):
        if isinstance(source, np.ndarray):
            yield from _of_array(source, count)
            return
        if not is_encoded(source):
            raise UnusableError(
                f"cannot read a video of type {type(source).__name__}. Pass a path, bytes or an array (time, height, "
                "width, 3) of uint8"
            )
        with opened(source) as file:
            _check_container(file)
            try:
                yield from _sample(file, count)
            except av.error.EOFError as error:
                raise UnusableError("no frames in its video stream") from error
            except av.error.MemoryError as error:
                raise MemoryError from error
            except av.error.FFmpegError as error:
                raise UnusableError(f"truncated or damaged: {error.strerror}") from error
            except IndexError as error:  # PyAV's, when a stream turns up that no header announced
                raise UnusableError("damaged: its streams are not those that its header announces") from error


def _middles(length: int, count: int) -> list[Fraction]:
    """Return the middles of ``count`` equal parts of a length: 1, 3 and 5 for a length of 6 and a count of 3."""
    return [Fraction((2 * i + 1) * length, 2 * count) for i in range(count)]


def _of_array(array: NDArray[Any], count: int) -> Iterator[tuple[Frame, int]]:
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
        raise UnusableError(
            f"an array of {array.dtype} and shape {array.shape}: a video is (time, height, width, 3) of uint8"
        )
    if array.size == 0:
        raise UnusableError(f"empty: an array of shape {array.shape}")
    for middle in _middles(len(array), count):
        yield Frame(None, Image.fromarray(np.ascontiguousarray(array[int(middle)]))), 1


def _check_container(file: BinaryIO) -> None:
    content = sniff(file)
    if content is None or (content.modality != "video" and content.format != "gif"):
        raise UnusableError(f"no video stream: {looks_like(file)}" if content else f"not a video: {looks_like(file)}")
    if missing := container.missing_bytes(file):
        raise UnusableError(f"truncated: {missing} bytes are missing at the end")
    if content.format == "ogg" and not container.ogg_has_end(file):
        raise UnusableError("truncated: the last page of the Ogg stream is missing")


def _sample(file: BinaryIO, count: int) -> Iterator[tuple[Frame, int]]:
    length = _length(file)
    middles = _middles(length, count)
    done = 0
    with closing(_shown(file)) as frames:
        for frame, since, until in frames:
            progress.beat()
            due = (count if until is None else bisect_left(middles, until)) - done
            if due > 0:
                yield _converted(frame, since), due
                done += due
            if done == count:
                return
    raise UnusableError("no frames in its video stream")


def _length(file: BinaryIO) -> int:
    """Return the duration of the video stream in units of its time base, from its packets without decoding.

    Headers are not asked: they may be missing, count the audio as well, or be wrong.
    """
    first = last = None
    duration = packets = 0
    last_is_whole = True
    with _opened(file) as (container_, stream):
        for packet in container_.demux(stream):
            stamp = _stamp(packet, container_)
            if stamp is None or packet.is_discard:
                continue
            packets += 1
            progress.beat()
            last_is_whole = not packet.is_corrupt
            first = stamp if first is None else min(first, stamp)
            if last is None or stamp >= last:
                last, duration = stamp, packet.duration or 0
    if first is None or last is None:
        raise UnusableError("no frames in its video stream")
    if not last_is_whole:
        raise UnusableError("truncated: its last frame is incomplete")
    return last - first + (duration or max(1, round((last - first) / max(1, packets - 1))))


def _shown(file: BinaryIO) -> Generator[tuple[av.VideoFrame, int, int | None]]:
    """(frame, when it comes on display, when the next one does), from the first frame on in units of the time base.
    After the last frame nothing comes: None."""
    with _opened(file) as (container_, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = _THREADS if stream.width * stream.height <= _LARGE_FRAME else 1
        first: int | None = None
        shown: tuple[av.VideoFrame, int] | None = None
        for frame in _frames(container_, stream):
            stamp = _stamp(frame, container_)
            if first is None:
                first = stamp or 0
            since = stamp - first if stamp is not None else (shown[1] + max(1, frame.duration) if shown else 0)
            if shown:
                yield *shown, since
            shown = frame, since
        if shown:
            yield *shown, None


@contextmanager
def _opened(file: BinaryIO) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    file.seek(0)
    options = {"format_whitelist": DEMUXERS}
    # A title in another encoding than UTF-8 does not prevent reading the images.
    with av.open(container.FFmpegFile(file), "r", container_options=options, metadata_errors="replace") as container_:
        stream = _best(container_)
        limit = min(limits().frame_pixels, Image.MAX_IMAGE_PIXELS or limits().frame_pixels)
        if getattr(stream, "codec_context", None) is None:
            raise UnusableError("damaged, or its images are in an encoding that FFmpeg does not know")
        if stream.width * stream.height > limit:
            raise UnusableError(
                f"frames of {stream.width} × {stream.height} pixels; the limit is {limit:,} pixels a frame. Next: "
                "convert it, for example with `ffmpeg -i INPUT -vf scale=1280:-2 OUTPUT.mp4`"
            )
        yield container_, stream


def _best(container_: InputContainer) -> av.VideoStream:
    """FFmpeg's best video stream (av_find_best_stream) that is not a cover image."""
    moving = [s for s in container_.streams.video if not s.disposition & Disposition.attached_pic]
    if not moving:
        raise UnusableError("no video stream")
    best = container_.streams.best("video")
    return next((stream for stream in moving if best is not None and stream.index == best.index), moving[0])


def _frames(container_: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Yield the decoded frames, with their alpha channel.

    FFmpeg's own decoders of VP8 and VP9 drop the alpha channel, which Matroska stores next to each packet; libvpx keeps
    it.
    """
    if stream.metadata.get("alpha_mode") != "1" or stream.codec_context.name not in _ALPHA_DECODERS:
        yield from container_.decode(stream)
        return
    name = _ALPHA_DECODERS[stream.codec_context.name]
    try:
        decoder = av.VideoCodecContext.create(name, "r")
    except av.codec.codec.UnknownCodecError as error:
        raise UnusableError(
            f"has an alpha channel, whose decoder is missing from this build of PyAV: {name}"
        ) from error
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.extradata = stream.codec_context.extradata
    decoder.colorspace, decoder.color_range = stream.codec_context.colorspace, stream.codec_context.color_range
    for packet in container_.demux(stream):
        yield from decoder.decode(packet if packet.size else None)


def _stamp(timed: av.Packet[Any] | av.VideoFrame, container_: InputContainer) -> int | None:
    """When something is shown, in units of the time base. AVI knows only when it is decoded, at a constant rate."""
    return timed.dts if container_.format.name == "avi" else timed.pts


def _converted(frame: av.VideoFrame, since: int) -> Frame:
    time_s = float(since * (frame.time_base or 0))
    if frame.is_corrupt:
        raise UnusableError(f"damaged: the frame at {time_s:.2f} s cannot be decoded whole")
    if frame.width * frame.height > (most := limits().frame_pixels):  # a stream may change its size on the way
        raise UnusableError(f"a frame of {frame.width} × {frame.height} pixels; the limit is {most:,} pixels a frame")
    image = _rgb(frame)
    side_data: Any = frame.side_data  # its stubs have no such keys
    if matrix := side_data.get(SideDataType.DISPLAYMATRIX):
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
        image = upright_by_matrix(image, a, b, c, d)
    return Frame(time_s, image)


def _rgb(frame: av.VideoFrame) -> Image.Image:
    """Return a frame in RGB; an alpha channel is composited over white.

    FFmpeg converts with the matrix and the range that the frame declares. Where it declares none these are BT.601 and
    the limited range, whatever the size, as on FFmpeg's command line; formats of one grey channel are always of full
    range.
    """
    has_alpha = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    try:
        pixels = frame.to_ndarray(format="rgba" if has_alpha else "rgb24")
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise UnusableError(f"FFmpeg cannot convert its color space to RGB: {_color_space(frame)}") from error
    image = Image.fromarray(pixels)
    return over_white(image) if has_alpha else image


def _color_space(frame: av.VideoFrame) -> str:
    code = int(frame.colorspace)
    return f"{frame.format.name}, matrix coefficients {_MATRICES.get(code, code)}"
