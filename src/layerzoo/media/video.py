"""Decode the sampled frames of videos.

A first pass demuxes the file, without decoding, and shows when each frame is displayed. The frames to sample are chosen
from that, and decoded in a second pass, which seeks where it saves decoding.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from layerzoo.errors import UsageError
from layerzoo.frame_sampling import FrameSampling
from layerzoo.media import animation, container, progress
from layerzoo.media.image import over_white
from layerzoo.media.limits import limits
from layerzoo.media.orientation import upright_by_matrix
from layerzoo.media.sample import UnusableError, failing_as, name_of
from layerzoo.media.sniff import is_animation, looks_like, sniff
from layerzoo.media.source import Encoded, is_encoded, opened
from layerzoo.media.timeline import Timeline, chosen_frames

VideoSource = Encoded | NDArray[np.uint8]

# Containers with timestamps. No playlists (hls, concat, dash), which make FFmpeg open other files; no bare streams.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf,gif,apng"

_THREADS = min(4, os.cpu_count() or 1)
"""Each decodes and keeps one frame."""
_LARGE_FRAME = 9_000_000
"""Pixels. Such frames are decoded by one thread: a decoder keeps up to 16 for reference already."""
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# By their number in ITU-T H.273, table 4: those that libswscale does not convert.
_MATRICES = {8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE ST 2085", 14: "ICtCp"}
_INDEXED = ("mov", "matroska")
"""Containers with an index of keyframes, in which FFmpeg seeks to the packet that is asked for."""
_STRICT_REFERENCES = ("h264",)
"""Codecs in which no frame is predicted from one that is marked as no reference (ITU-T H.264, nal_ref_idc). In H.265
frames of a higher temporal layer may be."""
_SEEK_GAP = 8
"""Packets. To seek over fewer costs more than to decode them: the decoder's threads are started again."""

_STEP_BACK_S = Fraction(1, 10)
"""A time that steps back further is that of an appended file, as in FFmpeg's command line (ts_discontinuity_detect)."""


class _Conversion(threading.local):
    """The converter of pixel formats of a thread. A new one for each frame would take 17 MB, and be freed late."""

    def __init__(self) -> None:
        self.reformatter = VideoReformatter()


_conversion = _Conversion()


class Frame(NamedTuple):
    """One sampled frame.

    Attributes:
        time_s: the time at which it is displayed, in seconds after the first frame; None for an array.
        image: RGB, upright, with square pixels.
        number: its number in the video, from 0, in the order of display.
    """

    time_s: float | None
    image: Image.Image
    number: int


class SampledFrame(NamedTuple):
    """A frame, the number of times that it is sampled in a row, and the number of all sampled frames of the video."""

    frame: Frame
    times: int
    of: int


def sample_frames(source: VideoSource, sampling: FrameSampling | int) -> list[Frame]:
    """Return the frames that a sampling chooses.

    A frame is on display from its own timestamp to the next one's, also with a variable frame rate and an edit list.
    If a video has too few frames, some are sampled several times. Of several video streams the
    best according to FFmpeg is taken, and never a cover image. Colors are converted with the matrix and range that the
    video declares (BT.601 of limited range where it declares none, as FFmpeg does), 10 bits are rounded to 8, and HDR
    is not tone-mapped. An alpha channel is composited over white. Rotation and mirroring are applied, and pixels that
    are not square are made so by scaling the width. Both fields of an interlaced frame are kept, as they are stored.

    Args:
        source: a path, the bytes of a file, or an array (time, height, width, 3) of uint8. An animation, a GIF, WebP,
            PNG or AVIF file, is a video too.
        sampling: the frames to sample; a number of frames, uniformly in time.
    Raises: SampleError when it is empty, truncated, damaged, has no video stream, or colors that FFmpeg cannot convert;
        when the sampled interval is empty.
    """
    return [item.frame for item in sampled(source, sampling) for _ in range(item.times)]


def sampled(source: VideoSource, sampling: FrameSampling | int) -> Iterator[SampledFrame]:
    """Yield the frames of :func:`sample_frames`, one after the other.

    Only one of them is in memory, next to those that the decoder keeps.
    """
    if not isinstance(sampling, FrameSampling):
        if sampling < 1:
            raise UsageError(f"{sampling} frames cannot be sampled from a video: at least 1")
        sampling = FrameSampling(frames=sampling)
    with failing_as(name_of(source)):
        if isinstance(source, np.ndarray):
            yield from _of_array(source, sampling)
            return
        if not is_encoded(source):
            raise UnusableError(
                f"cannot read a video of type {type(source).__name__}. Pass a path, bytes or an array (time, height, "
                "width, 3) of uint8"
            )
        with opened(source) as file:
            yield from _of_animation(file, sampling) if _check_container(file) else _of_file(file, sampling)


def _of_array(array: NDArray[Any], sampling: FrameSampling) -> Iterator[SampledFrame]:
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
        raise UnusableError(
            f"an array of {array.dtype} and shape {array.shape}: a video is (time, height, width, 3) of uint8"
        )
    if array.size == 0:
        raise UnusableError(f"empty: an array of shape {array.shape}")
    if sampling.strategy.name == "scenes":
        raise UnusableError("scenes are detected in files, not in arrays. Next: sampling='uniform' or 'every:N'")
    chosen = chosen_frames(sampling, Timeline(np.arange(len(array)), len(array), None))
    for number, times in _counted(chosen):
        image = Image.fromarray(np.ascontiguousarray(array[number]))
        yield SampledFrame(Frame(None, image, number), times, len(chosen))


def _of_animation(file: BinaryIO, sampling: FrameSampling) -> Iterator[SampledFrame]:
    if sampling.strategy.name in ("scenes", "keyframes"):
        raise UnusableError(
            f"sampling={sampling.sampling!r} is for video files, and this is an animation. Next: sampling='uniform'"
        )
    timeline = animation.timeline(file)
    chosen = chosen_frames(sampling, timeline)
    for run in _increasing(chosen):
        counts = _counted(run)
        images = animation.frames(file, [number for number, _ in counts])
        for (number, times), image in zip(counts, images, strict=True):
            yield SampledFrame(Frame(timeline.time_s(number), image, number), times, len(chosen))


def _of_file(file: BinaryIO, sampling: FrameSampling) -> Iterator[SampledFrame]:
    try:
        yield from _sample(file, sampling)
    except av.error.EOFError as error:
        raise UnusableError("no frames in its video stream") from error
    except av.error.MemoryError as error:
        raise MemoryError from error
    except av.error.FFmpegError as error:
        raise UnusableError(f"truncated or damaged: {error.strerror}") from error
    except IndexError as error:  # PyAV's, when a stream turns up that no header announced
        raise UnusableError("damaged: its streams are not those that its header announces") from error


def _increasing(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Divide numbers where they decrease, as where a clip begins before the end of the one before it."""
    start = 0
    for at in range(1, len(numbers)):
        if numbers[at] < numbers[at - 1]:
            yield numbers[start:at]
            start = at
    yield numbers[start:]


def _counted(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return each number with the number of times that it occurs in a row."""
    return [(number, sum(1 for _ in group)) for number, group in groupby(numbers)]


def _check_container(file: BinaryIO) -> bool:
    """Return whether a file is an animation that Pillow decodes. Raises: UnusableError where it is no video."""
    content = sniff(file)
    if content is not None and is_animation(file, content):
        return content.format in animation.DECODED_BY_PILLOW
    if content is None or content.modality != "video":
        raise UnusableError(f"no video stream: {looks_like(file)}" if content else f"not a video: {looks_like(file)}")
    if missing := container.missing_bytes(file):
        raise UnusableError(f"truncated: {missing} bytes are missing at the end")
    if content.format == "ogg" and not container.ogg_has_end(file):
        raise UnusableError("truncated: the last page of the Ogg stream is missing")
    return False


class _OtherFramesError(Exception):
    """The decoded frames are not those that the packets announce."""


def _sample(file: BinaryIO, sampling: FrameSampling) -> Iterator[SampledFrame]:
    """Sample frames by the times of packets. Where the decoded frames differ from these, decode all of them first."""
    packets = _read_packets(file)
    yielded = 0

    def attempt(timeline: Timeline, cuts: Sequence[int]) -> Generator[SampledFrame, None, bool]:
        """Yield the frames up to one that differs from its packet. Returns: whether there was none."""
        nonlocal yielded
        try:
            for item in _sampled_by_packets(file, packets, timeline, sampling, cuts):
                yield item
                yielded += 1
        except (_OtherFramesError, av.error.FFmpegError):
            progress.beat()
            return False
        return True

    with_scenes = sampling.strategy.name == "scenes"
    # AVI stores frames in the order of decoding. B-frames displayed before a keyframe are seen by decoding alone.
    are_keys_placed = not packets.in_order or bool(packets.is_key.all())
    may_choose = not with_scenes and (are_keys_placed or sampling.strategy.name != "keyframes")
    if packets.timeline is not None and may_choose and (yield from attempt(packets.timeline, ())):
        return
    timeline, cuts = _decoded_timeline(file, packets, sampling)
    packet_timeline = packets.timeline
    are_times_known = (
        with_scenes and packet_timeline is not None and np.array_equal(packet_timeline.since, timeline.since)
    )
    if are_times_known and (yield from attempt(timeline, cuts)):
        return
    for at, item in enumerate(_sampled_in_order(file, timeline, chosen_frames(sampling, timeline, cuts))):
        if at >= yielded:
            yield item


def _sampled_by_packets(
    file: BinaryIO, packets: _Packets, timeline: Timeline, sampling: FrameSampling, cuts: Sequence[int]
) -> Iterator[SampledFrame]:
    chosen = chosen_frames(sampling, timeline, cuts)
    only_keys = sampling.strategy.name == "keyframes"
    for run in _increasing(chosen):
        counts = _counted(run)
        numbers = [number for number, _ in counts]
        frames = _keyframes(file, packets, numbers) if only_keys else _decoded(file, packets, numbers)
        with closing(frames):
            for (number, times), (frame, aspect) in zip(counts, frames, strict=True):
                if frame.is_corrupt:  # decoded without the frames before it, perhaps
                    raise _OtherFramesError
                time_s = timeline.time_s(number)
                yield SampledFrame(Frame(time_s, _upright(frame, aspect, time_s), number), times, len(chosen))


def _sampled_in_order(file: BinaryIO, timeline: Timeline, chosen: Sequence[int]) -> Iterator[SampledFrame]:
    """Decode from the first frame on, without seeking."""
    for run in _increasing(chosen):
        pending = dict(_counted(run))
        with closing(_displayed(file)) as frames:
            for number, (frame, aspect, _) in enumerate(frames):
                if number in pending:
                    time_s = timeline.time_s(number)
                    image = _upright(frame, aspect, time_s)
                    yield SampledFrame(Frame(time_s, image, number), pending.pop(number), len(chosen))
                if not pending:
                    break
        if pending:
            raise UnusableError("damaged: it decodes to fewer frames each time")


@dataclass(frozen=True, slots=True)
class _Packets:
    """The packets of a video stream, in the order in which they are decoded."""

    stamps: NDArray[np.int64]
    """(packet,) when its frame is displayed, in units of the time base."""
    seek_stamps: NDArray[np.int64]
    """(packet,) the timestamp by which the container's index finds it."""
    is_key: NDArray[np.bool_]
    length: int
    """The duration of the stream, from the first displayed frame to the end of the last one."""
    frames: NDArray[np.intp]
    """(frame,) the packet of each frame, in the order of display."""
    timeline: Timeline | None
    """None where packets do not state when each frame is displayed."""
    unit_s: Fraction
    may_seek: bool
    """Whether packets are found by their timestamps."""
    in_order: bool
    """Whether it is not known which packets a frame requires: packets have times of decoding alone, as in AVI."""


def _read_packets(file: BinaryIO) -> _Packets:
    """Read the times of all packets without decoding them.

    Headers are not asked: they may be missing, count the audio as well, or be wrong. Raises: UnusableError.
    """
    stamps, seek_stamps, flags = array("q"), array("q"), bytearray()
    all_have_times = last_is_whole = True
    durations: dict[int, int] = {}
    with _opened(file) as (container_, stream):
        is_mov = container_.format.name.startswith("mov")
        for packet in container_.demux(stream):
            stamp = _stamp(packet, container_)
            if stamp is None:
                all_have_times = all_have_times and packet.size == 0
                continue
            progress.beat()
            stamps.append(stamp)
            seek_stamps.append(packet.dts if is_mov and packet.dts is not None else stamp)
            flags.append(packet.is_keyframe + 2 * packet.is_discard)
            if not packet.is_discard:
                last_is_whole = not packet.is_corrupt
                if not durations or stamp >= next(iter(durations)):
                    durations = {stamp: packet.duration or 0}
        may_seek = container_.format.name.startswith(_INDEXED)
        in_order = container_.format.name == "avi"
        unit_s = Fraction(stream.time_base or 0)
    times, marks = np.array(stamps, np.int64), np.frombuffer(bytes(flags), np.uint8)
    displayed = np.flatnonzero(marks < 2)
    if not len(displayed):
        raise UnusableError("no frames in its video stream")
    if not last_is_whole:
        raise UnusableError("truncated: its last frame is incomplete")
    frames = displayed[np.argsort(times[displayed], kind="stable")]
    since = times[frames] - times[frames[0]]
    span = int(since[-1])
    length = span + (next(iter(durations.values())) or max(1, round(span / max(1, len(frames) - 1))))
    is_regular = all_have_times and unit_s > 0 and bool((np.diff(since) > 0).all())
    is_key = (marks & 1).astype(bool)
    timeline = Timeline(since, length, unit_s, is_key[frames]) if is_regular else None
    return _Packets(
        times, np.array(seek_stamps, np.int64), is_key, length, frames, timeline, unit_s, may_seek, in_order
    )


class _Run(NamedTuple):
    """Frames that are decoded one after the other, without seeking.

    seek: the packet to begin with; None for the first one of the file. last: the last packet that they require.
    """

    seek: int | None
    last: int
    numbers: list[int]


def _runs(packets: _Packets, numbers: Sequence[int]) -> list[_Run]:
    """Divide frames where seeking to a keyframe saves decoding. Raises: _OtherFramesError if there is none to begin."""
    keys = np.flatnonzero(packets.is_key)
    key_stamps = packets.stamps[keys]
    may_seek = packets.may_seek and len(keys) > 0 and bool((np.diff(key_stamps) > 0).all())
    runs: list[_Run] = []
    position = -1
    for number in numbers:
        packet = int(packets.frames[number])
        nearest = int(np.searchsorted(key_stamps, packets.stamps[packet], side="right")) - 1
        key = int(keys[nearest]) if may_seek and nearest >= 0 else -1
        if not runs or position + _SEEK_GAP < key <= packet:
            runs.append(_Run(key if key > _SEEK_GAP and key <= packet else None, packet, []))
            position = key
        position = max(position, packet)
        runs[-1].numbers.append(number)
        last = len(packets.stamps) if packets.in_order else packet
        runs[-1] = runs[-1]._replace(last=max(runs[-1].last, last))
    return runs


Decoded = tuple[av.VideoFrame, Fraction]
"""A frame, and the width of its pixels as a multiple of their height."""


def _decoded(file: BinaryIO, packets: _Packets, numbers: Sequence[int]) -> Generator[Decoded]:
    """Yield some frames, by increasing number. Raises: _OtherFramesError where decoding shows others."""
    runs = _runs(packets, numbers)
    with _opened(file) as (container_, stream):
        _use_threads(stream)
        decoder, aspect = _decoder(stream), _aspect(stream)
        for at, run in enumerate(runs):
            if run.seek is not None:
                container_.seek(int(packets.seek_stamps[run.seek]), stream=stream)
                decoder.flush_buffers()
            numbered = _numbered(_fed(container_, stream, decoder, packets, run), packets, container_)
            remaining = iter(run.numbers)
            number = next(remaining, None)
            for frame_number, frame in numbered:
                if number is not None and frame_number > number:
                    raise _OtherFramesError
                if frame_number == number:
                    yield frame, aspect
                    number = next(remaining, None)
                if number is None:
                    break
            if number is not None:
                raise _OtherFramesError
            if at + 1 < len(runs) and runs[at + 1].seek is None:
                raise _OtherFramesError


def _fed(
    container_: InputContainer, stream: av.VideoStream, decoder: av.VideoCodecContext, packets: _Packets, run: _Run
) -> Iterator[av.VideoFrame]:
    """Feed the packets of a run to a decoder, and yield the frames. At the end the decoder is drained.

    Raises: _OtherFramesError if the container did not seek to the first packet of the run.
    """
    at = run.seek or 0
    has_begun = run.seek is None
    required = {int(packets.frames[number]) for number in run.numbers}
    may_skip = packets.may_seek and decoder.name in _STRICT_REFERENCES
    for packet in container_.demux(stream):
        progress.beat()
        if packet.size == 0:
            break
        if not has_begun:
            stamp = _stamp(packet, container_)
            has_begun = stamp == packets.stamps[at]
            if not has_begun and (stamp is None or (packet.is_keyframe and stamp > packets.stamps[at])):
                raise _OtherFramesError
        if has_begun:
            if may_skip:  # frames that are neither sampled nor a reference are not decoded
                decoder.skip_frame = "DEFAULT" if at in required else "NONREF"
            yield from decoder.decode(packet)
            if at >= run.last:
                break
            at += 1
    yield from decoder.decode(None)


def _numbered(
    frames: Iterable[av.VideoFrame], packets: _Packets, container_: InputContainer
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield frames with their numbers. Raises: _OtherFramesError for a frame that no packet announces."""
    assert packets.timeline is not None
    since, start = packets.timeline.since, int(packets.stamps[packets.frames[0]])
    first_decoded: int | None = None
    for count, frame in enumerate(frames):
        stamp = _stamp(frame, container_)
        if not packets.may_seek:  # frames are counted, and their times are compared
            first_decoded = stamp if first_decoded is None else first_decoded
            is_known = count < len(since) and (stamp is None or stamp - (first_decoded or 0) == since[count])
            number = count
        elif stamp is not None and stamp < start:
            continue  # before the keyframe that was sought
        else:
            number = int(np.searchsorted(since, (stamp or 0) - start))
            is_known = stamp is not None and number < len(since) and since[number] == stamp - start
        if not is_known:
            raise _OtherFramesError
        yield number, frame


def _keyframes(file: BinaryIO, packets: _Packets, numbers: Sequence[int]) -> Generator[Decoded]:
    """Decode keyframes alone, each without the others. Other packets are demuxed, and not decoded."""
    pending = {int(packets.frames[number]): number for number in numbers}
    with _opened(file) as (container_, stream):
        _use_threads(stream)
        decoder, aspect = _decoder(stream), _aspect(stream)
        for at, packet in enumerate(container_.demux(stream)):
            progress.beat()
            if packet.size == 0 or not pending:
                break
            if pending.pop(at, None) is not None:
                frames = [*decoder.decode(packet), *decoder.decode(None)]
                decoder.flush_buffers()
                if len(frames) != 1:
                    raise _OtherFramesError
                yield frames[0], aspect
    if pending:
        raise _OtherFramesError


def _decoded_timeline(file: BinaryIO, packets: _Packets, sampling: FrameSampling) -> tuple[Timeline, Sequence[int]]:
    """Decode all frames, and return when they are displayed, and the cuts, if requested."""
    since: list[int] = []
    keys: list[bool] = []
    detector = None
    if sampling.strategy.name == "scenes":
        from layerzoo.media.scenes import SceneDetector

        detector = SceneDetector(sampling.strategy.number)
    duration = 0
    with closing(_displayed(file)) as frames:
        for frame, _, stamp in frames:
            since.append(stamp)
            keys.append(bool(frame.key_frame))
            duration = frame.duration or 0
            if detector is not None:
                detector.add(_converted(frame, "bgr24").to_ndarray())
    if not since:
        raise UnusableError("no frames in its video stream")
    end = max(packets.length, since[-1] + (duration or max(1, round(since[-1] / max(1, len(since) - 1)))))
    timeline = Timeline(np.array(since, np.int64), end, packets.unit_s or Fraction(1), np.array(keys))
    return timeline, detector.cuts() if detector is not None else ()


def _displayed(file: BinaryIO) -> Generator[tuple[av.VideoFrame, Fraction, int]]:
    """Yield all frames, the aspect of their pixels, and when they come on display, in units after the first one."""
    with _opened(file) as (container_, stream):
        _use_threads(stream)
        decoder, aspect = _decoder(stream), _aspect(stream)
        first: int | None = None
        since, step, previous = 0, 0, 0
        most_back = _STEP_BACK_S / (stream.time_base or 1)
        for frame in _all_frames(container_, stream, decoder):
            stamp = _stamp(frame, container_)
            if first is None:
                first = stamp or 0
            elif stamp is None:
                since += max(1, step)
            else:
                if stamp - first < since - most_back:  # another file begins, which was appended
                    first = stamp - since - max(1, step)
                since = max(since + 1, stamp - first)  # a time that does not increase is that of a damaged file
            step, previous = frame.duration or since - previous, since
            yield frame, aspect, since


def _all_frames(
    container_: InputContainer, stream: av.VideoStream, decoder: av.VideoCodecContext
) -> Iterator[av.VideoFrame]:
    for packet in container_.demux(stream):
        progress.beat()
        yield from decoder.decode(packet if packet.size else None)


def _use_threads(stream: av.VideoStream) -> None:
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = _THREADS if stream.width * stream.height <= _LARGE_FRAME else 1


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


def _decoder(stream: av.VideoStream) -> av.VideoCodecContext:
    """Return a decoder that keeps the alpha channel.

    FFmpeg's own decoders of VP8 and VP9 drop the alpha channel, which Matroska stores next to each packet; libvpx keeps
    it.
    """
    if stream.metadata.get("alpha_mode") != "1" or stream.codec_context.name not in _ALPHA_DECODERS:
        return stream.codec_context
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
    return decoder


def _aspect(stream: av.VideoStream) -> Fraction:
    """Return the width of the pixels as a multiple of their height; 1 where none, or an absurd one, is declared."""
    aspect = stream.sample_aspect_ratio
    return aspect if aspect is not None and Fraction(1, 8) <= aspect <= 8 else Fraction(1)


def _stamp(timed: av.Packet[Any] | av.VideoFrame, container_: InputContainer) -> int | None:
    """When something is shown, in units of the time base. AVI knows only when it is decoded, at a constant rate."""
    return timed.dts if container_.format.name == "avi" else timed.pts


def _upright(frame: av.VideoFrame, aspect: Fraction, time_s: float | None) -> Image.Image:
    """Return a frame in RGB with square pixels, rotated and mirrored according to its metadata."""
    if frame.is_corrupt:
        raise UnusableError(f"damaged: the frame at {time_s or 0:.2f} s cannot be decoded whole")
    most = limits().frame_pixels
    if frame.width * frame.height > most:  # a stream may change its size on the way
        raise UnusableError(f"a frame of {frame.width} × {frame.height} pixels; the limit is {most:,} pixels a frame")
    image = _rgb(frame)
    width = round(frame.width * aspect)
    if aspect != 1 and width > 0 and width * frame.height <= most:
        image = image.resize((width, frame.height), Image.Resampling.BICUBIC)
    side_data: Any = frame.side_data  # its stubs have no such keys
    if matrix := side_data.get(SideDataType.DISPLAYMATRIX):
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
        image = upright_by_matrix(image, a, b, c, d)
    return image


def _rgb(frame: av.VideoFrame) -> Image.Image:
    """Return a frame in RGB; an alpha channel is composited over white.

    FFmpeg converts with the matrix and the range that the frame declares. Where it declares none these are BT.601 and
    the limited range, for all sizes, as on FFmpeg's command line; formats of one grey channel are always of full range.
    """
    has_alpha = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    try:
        pixels = _rgba(frame) if has_alpha else _converted(frame, "rgb24").to_ndarray()
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise UnusableError(f"FFmpeg cannot convert its color space to RGB: {_color_space(frame)}") from error
    image = Image.fromarray(pixels)
    return over_white(image) if has_alpha else image


def _rgba(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Return (height, width, 4) of a frame with an alpha channel.

    libswscale does not write the last column of an odd width where it converts subsampled colors to four bytes a pixel
    (seen in version 9.5 for yuva420p). Then the colors are converted to three bytes, and the alpha channel separately.
    """
    is_subsampled = not frame.format.has_palette and frame.format.chroma_width(frame.width) < frame.width
    if not (is_subsampled and frame.width % 2):
        return np.asarray(_converted(frame, "rgba").to_ndarray(), np.uint8)
    alpha = _converted(frame, "yuva444p").planes[3]
    rows = np.frombuffer(bytes(alpha), np.uint8).reshape(alpha.height, alpha.line_size)[:, : alpha.width]
    return np.dstack([np.asarray(_converted(frame, "rgb24").to_ndarray(), np.uint8), rows])


def _converted(frame: av.VideoFrame, pixel_format: str) -> av.VideoFrame:
    return _conversion.reformatter.reformat(frame, format=pixel_format)


def _color_space(frame: av.VideoFrame) -> str:
    code = int(frame.colorspace)
    return f"{frame.format.name}, matrix coefficients {_MATRICES.get(code, code)}"
