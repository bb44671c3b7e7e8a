"""Decode an encoded audio file to mono samples, as FFmpeg does.

FFmpeg (through PyAV) is the reference for the samples of a file. Its PCM equals libsndfile's bit for bit. libsndfile
decodes files that FFmpeg cannot read or reads wrongly, and reads the headers of a few formats.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from layerzoo.library_messages import parse_truncated_chunks
from layerzoo.media import container, progress
from layerzoo.media.audio_input import MAX_CHANNELS
from layerzoo.media.declared_length import UNKNOWN_LENGTHS
from layerzoo.media.limits import limits
from layerzoo.media.sample import UnusableError
from layerzoo.media.sniff import Content, looks_like, reads_as_text, sniff

# Containers and streams that hold audio. No playlists (hls, concat, dash), which make FFmpeg open other files.
DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,avr,caf,dsf,dts,dtshd,eac3,epaf,flac,flv,iff,ircam,loas,matroska,webm,"
    "mlp,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,pvf,qcp,qoa,rm,shn,sox,tak,truehd,tta,voc,"
    "w64,wav,wv,xwma"
)
BLOCK_SAMPLES = 1 << 18

# A bare sequence of codec frames: tags, or a frame that was cut in two, may be before the first and after the last one.
_BARE_STREAMS = {"aac", "ac3", "dts", "dtshd", "eac3", "loas", "mlp", "mp3", "mpeg", "mpegts", "truehd"}
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"fLaC")
# Containers outside libsndfile whose declared number of samples is exact.
_EXACT_LENGTH = {"ape", "dsf", "tak", "tta", "wv"}
# Containers whose header declares a duration, in thousandths of a second, that FFmpeg takes as it is.
_DECLARE_DURATION = {"flv", "rm"}
_DURATION_SLACK_S = 0.06  # a codec frame, and the rounding of its timestamps
_PCM = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
# FFmpeg reads G.72x in WAV and AU with the bits of a byte in the other order, takes the remainder that libsndfile
# writes for ALAC in CAF for priming samples, and has no decoder for NMS ADPCM.
_FFMPEG_READS_WRONGLY = {
    *("G721_32", "G723_24", "G723_40"),
    *("ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32"),
    *("NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32"),
}
# And integers of 16 or 24 valid bits in 32 for the floating point of an old program.
_TAKEN_FOR_FLOAT = {"pcm_f16le", "pcm_f24le"}
_READ_BY_LIBSNDFILE = {"wav", "aiff", "au", "caf", "w64", "flac", "voc"}
# The length that libsndfile reports where the header does not state it.
_UNKNOWN_FRAMES = (1 << 63) - 1


@dataclass(slots=True)
class Segment:
    """Consecutive samples of one sample rate."""

    sample_rate_hz: int
    length: int = 0
    is_finite: bool = True


Block = tuple[int, NDArray[np.float32]]
"""A sample rate, and samples: (time,), the mean of the channels; (time, channel) for a network that takes several."""


@dataclass(slots=True)
class Track:
    """The result of one pass of a decoder over a file, or over a part of it.

    decode: repeats the pass, and yields its blocks. cached_blocks: the blocks; None where there are too many to cache.
    """

    decode: Callable[[], Iterator[Block]]
    segments: list[Segment] = field(default_factory=list)
    cached_blocks: list[Block] | None = field(default_factory=list)

    def blocks(self) -> Iterator[Block]:
        """Yield the decoded samples, in order."""
        return self.decode() if self.cached_blocks is None else iter(self.cached_blocks)

    @property
    def length(self) -> int:
        return sum(segment.length for segment in self.segments)

    @property
    def seconds(self) -> float:
        return sum(segment.length / segment.sample_rate_hz for segment in self.segments)


def track_of(decode: Callable[[], Iterator[Block]]) -> Track:
    """Decode to the end, and keep the samples while they are few. Raises: the exceptions of the decoder."""
    track, most = Track(decode), limits().kept_samples
    unjoined, unjoined_samples = 0, 0  # blocks are joined to large ones: a frame of a file has some hundred samples
    for rate, block in decode():
        progress.beat()
        if not track.segments or track.segments[-1].sample_rate_hz != rate:
            track.segments.append(Segment(rate))
            unjoined, unjoined_samples = 0, 0
        segment = track.segments[-1]
        segment.length += len(block)
        segment.is_finite = segment.is_finite and bool(np.isfinite(block).all())
        if track.cached_blocks is None:
            continue
        track.cached_blocks.append((rate, block))
        unjoined, unjoined_samples = unjoined + 1, unjoined_samples + len(block)
        if unjoined_samples >= BLOCK_SAMPLES:
            track.cached_blocks[-unjoined:] = [
                (rate, np.concatenate([part for _, part in track.cached_blocks[-unjoined:]]))
            ]
            unjoined, unjoined_samples = 0, 0
        if track.length * (block[:1].size or 1) > most:
            track.cached_blocks = None
    return track


def _few_kept(tracks: Iterable[Track]) -> list[Track]:
    """Return tracks without their samples, if there are many in all."""
    collected: list[Track] = []
    length = 0
    for track in tracks:
        collected.append(track)
        length += track.length
        if length > limits().kept_samples:
            for earlier in collected:
                earlier.cached_blocks = None
    return collected


Mix = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Converts the channels of a block, (time, channel)."""


def mean_of_channels(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mix (time, channel) to (time,)."""
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def all_channels(count: int) -> Mix:
    """Keep all channels. The mix raises UnusableError for audio that has not exactly ``count`` of them."""

    def keep(block: NDArray[np.float32]) -> NDArray[np.float32]:
        if block.shape[1] != count:
            raise UnusableError(
                f"{block.shape[1]} channel(s), and this network takes {count}, as its own feature extractor does. "
                f"Next: convert it, for example with `ffmpeg -i INPUT -ac {count} OUTPUT.wav`"
            )
        return block

    return keep


class _Header(NamedTuple):
    """The headers of a file, read by libsndfile. missing: (present, declared) bytes of the first incomplete chunk."""

    frames: int | None
    format: str
    subtype: str
    is_big_endian: bool
    missing: tuple[int, int] | None

    @property
    def is_misread_by_ffmpeg(self) -> bool:
        """Whether FFmpeg gives other samples than the file holds: it reads RIFX, big-endian WAV, as little-endian."""
        return self.subtype in _FFMPEG_READS_WRONGLY or (self.is_big_endian and self.format in ("WAV", "WAVEX"))


def read(file: BinaryIO, mix: Mix = mean_of_channels) -> list[Track]:
    """Decode the audio of a file to its end.

    Of several audio streams FFmpeg's best is taken. The sample rate may change in the middle, as it does in files that
    were joined: each rate begins a new segment. Samples are those that FFmpeg decodes, without encoder delay where the
    container declares one. The samples of a long file are not kept, and decoded again when they are read.

    Returns: the tracks that make up the file, in order, for as long as the file is open.
    Raises: UnusableError when the file holds no audio, or less than its headers declare, or is damaged.
    """
    content = sniff(file)
    if reads_as_text(file) if content is None else content.modality not in ("audio", "video"):
        raise UnusableError(f"not audio: {looks_like(file)}")
    header = _header(file) if content is None or content.format in _READ_BY_LIBSNDFILE else None
    if missing := container.missing_bytes(file):
        raise UnusableError(f"truncated: {missing} bytes are missing at the end")
    if header is not None and header.is_misread_by_ffmpeg:
        return [_by_libsndfile(file, mix)]
    if header is not None and header.missing is not None:
        raise UnusableError("truncated: {} of {} bytes".format(*header.missing))
    if content is not None and content.format == "ogg":
        return _ogg(file, mix)
    if len(parts := container.flac_parts(file)) > 1:
        return _few_kept(track for part in parts for track in read(part, mix))
    try:
        return [_by_ffmpeg(file, content, header, mix)]
    except av.error.MemoryError as error:
        raise MemoryError from error
    except av.error.FFmpegError as error:
        if header is not None:
            return [_by_libsndfile(file, mix)]
        if content is None:
            raise UnusableError(f"no audio that FFmpeg or libsndfile reads: {looks_like(file)}") from error
        raise UnusableError(f"truncated or damaged: begins as {content.format}, then: {error.strerror}") from error


def _by_ffmpeg(file: BinaryIO, content: Content | None, header: _Header | None, mix: Mix) -> Track:
    track, decoder = _decoded(file, mix)
    if header is not None and header.format == "WAVEX" and decoder.codec in _TAKEN_FOR_FLOAT:
        return _by_libsndfile(file, mix)
    declared = decoder.declared_samples
    if header is not None and header.subtype in _PCM and content is not None and content.format != "voc":
        declared = header.frames
    if decoder.format == "mp3":
        declared = container.mp3_samples(file)
    if declared is not None and track.length < declared:
        raise UnusableError(f"truncated: {track.length} of {declared} samples")
    if track.seconds < decoder.declared_s - _DURATION_SLACK_S:
        raise UnusableError(f"truncated: {track.seconds:.2f} of {decoder.declared_s:.2f} s")
    return track


def _decoded(file: BinaryIO, mix: Mix) -> tuple[Track, _AudioDecoder]:
    """Decode a file with FFmpeg. Raises: UnusableError; av.error.FFmpegError."""
    decoder = _AudioDecoder(file, mix)
    return track_of(decoder.blocks), decoder


class _AudioDecoder:
    """FFmpeg, on one file."""

    def __init__(self, file: BinaryIO, mix: Mix) -> None:
        self._file = file
        self._mix = mix
        self.format = ""
        self.declared_samples: int | None = None
        self.declared_s = 0.0
        self.codec = ""
        self._rate = 0
        self._seconds = 0.0
        self._next_pts: int | None = None

    def blocks(self) -> Iterator[Block]:
        """Decode the whole file. Raises: UnusableError; av.error.FFmpegError."""
        self._file.seek(0)
        self._rate, self._seconds, self._next_pts = 0, 0.0, None
        options = {"format_whitelist": DEMUXERS}
        file = container.FFmpegFile(self._file)
        with av.open(file, "r", container_options=options, metadata_errors="replace") as opened:
            stream: Any = opened.streams.best("audio")
            if stream is None:
                raise UnusableError(f"no audio stream: {looks_like(self._file)}")
            if getattr(stream, "codec_context", None) is None:
                raise UnusableError("damaged, or its audio is in an encoding that FFmpeg does not know")
            self.format, self.codec = opened.format.name, stream.codec_context.name
            if self.format in _EXACT_LENGTH and stream.duration and stream.time_base and stream.rate:
                self.declared_samples = int(stream.duration * stream.time_base * stream.rate)
            if self.format in _DECLARE_DURATION and len(opened.streams) == 1:
                self.declared_s = (opened.duration or 0) / av.time_base
            if self.codec == "flac":
                stream.codec_context.options = {"err_detect": "crccheck+explode"}
            try:
                yield from self._blocks(opened, stream)
            except IndexError as error:  # PyAV's, when a stream turns up that no header announced
                raise UnusableError("damaged: its streams are not those that its header announces") from error

    def _blocks(self, opened: Any, stream: Any) -> Iterator[Block]:
        is_bare = self.format in _BARE_STREAMS
        undecodable: str | None = None
        for packet in opened.demux(stream):
            progress.beat()
            try:
                frames = packet.decode()
            except (av.error.PatchWelcomeError, av.error.MemoryError):
                raise
            except av.error.FFmpegError:
                if not _is_tag(packet) and not (is_bare and not self._seconds):
                    undecodable = undecodable or self._where()
                continue
            for frame in frames:
                if undecodable:
                    raise UnusableError(f"damaged: the audio {undecodable} cannot be decoded")
                yield self._block(frame)
        if undecodable and not is_bare:
            raise UnusableError(f"truncated: the audio {undecodable} cannot be decoded, and nothing follows it")

    def _block(self, frame: Any) -> Block:
        if frame.sample_rate != self._rate:
            self._rate, self._next_pts = frame.sample_rate, None
        if self.format == "flac":
            self._check_continuous(frame)
        block = self._mix(_channels(frame))
        self._seconds += len(block) / (self._rate or 1)
        return self._rate, block

    def _check_continuous(self, frame: Any) -> None:
        """FFmpeg's FLAC reader silently skips data that it cannot parse; the number of the next frame shows it."""
        if frame.pts is None or frame.time_base is None or frame.time_base * frame.sample_rate != 1:
            return  # another rate than that of the header: a joined part
        if self._next_pts is not None and frame.pts > self._next_pts:
            raise UnusableError(f"damaged: {frame.pts - self._next_pts} samples {self._where()} cannot be decoded")
        self._next_pts = frame.pts + frame.samples

    def _where(self) -> str:
        return f"at {self._seconds:.2f} s"


def _is_tag(packet: Any) -> bool:
    """Return whether a packet that cannot be decoded is metadata, which joining files leaves between their frames."""
    head = bytes(packet)[:64].lstrip(b"\0")
    return not head or head.startswith(_TAGS)


def _channels(frame: Any) -> NDArray[np.float32]:
    """Return the samples of a frame, (time, channel). Integers are scaled to -1..1 as libsndfile scales them."""
    values = _numbers_of(frame)
    channels = frame.layout.nb_channels
    if channels > MAX_CHANNELS:
        raise UnusableError(f"{channels} channels: at most {MAX_CHANNELS}")
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    return _scaled(np.ascontiguousarray(values))


def _numbers_of(frame: Any) -> NDArray[Any]:
    """Return the numbers of a frame as FFmpeg has them: (channel, time) if planar, else (1, time * channel)."""
    if frame.format.name.removesuffix("p") != "s64":
        array: NDArray[Any] = frame.to_ndarray()
        return array
    count = frame.samples if frame.format.is_planar else frame.samples * frame.layout.nb_channels
    return np.stack([np.frombuffer(plane, np.int64)[:count] for plane in frame.planes])  # PyAV has no arrays of them


def _scaled(values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # infinities are refused later
            return values.astype(np.float32)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / np.float32(128)
    return values.astype(np.float32) * np.float32(2.0 ** (1 - 8 * values.dtype.itemsize))


def _ogg(file: BinaryIO, mix: Mix) -> list[Track]:
    """Decode an Ogg file, which may be several joined ones.

    FFmpeg continues from one part to the next where they agree in codec, channels and rate. Where they do not, each
    part is decoded on its own.
    """
    links = container.ogg_links(file)
    if not links or not links[-1].is_complete:
        raise UnusableError("truncated: the last page of the Ogg stream is missing")
    if len(links) == 1:
        return [_ogg_link(file, links[0], mix)]
    try:
        track, _ = _decoded(file, mix)
        _check_ogg(track, links)
    except av.error.MemoryError as error:
        raise MemoryError from error
    except (av.error.FFmpegError, UnusableError):
        return _few_kept(_ogg_link(file, link, mix) for link in links)
    return [track]


def _ogg_link(file: BinaryIO, link: container.OggLink, mix: Mix) -> Track:
    part = container.section(file, link.start, link.stop)
    try:
        track, _ = _decoded(part, mix)
    except av.error.MemoryError as error:
        raise MemoryError from error
    except av.error.FFmpegError as error:
        reason = f"damaged: the Ogg stream from byte {link.start} on: {error.strerror}"
        try:
            return _by_libsndfile(part, mix)
        except UnusableError:
            raise UnusableError(reason) from error
    _check_ogg(track, [link])
    return track


def _check_ogg(track: Track, links: list[container.OggLink]) -> None:
    """FFmpeg silently skips damaged pages: compare the decoded length with the positions that the pages declare."""
    if any(link.samples is None for link in links):
        return
    declared = sum((link.samples or 0) / link.sample_rate_hz for link in links)
    slack = sum(link.frame_samples / link.sample_rate_hz for link in links)
    if track.seconds < declared - slack:
        raise UnusableError(f"damaged: {track.seconds:.2f} of {declared:.2f} s can be decoded")


def _without_name(file: BinaryIO) -> BinaryIO:
    """Return all of a file, for libsndfile.

    With the name of a file, soundfile takes a suffix such as .raw as its format, and requires more arguments. With its
    descriptor, libsndfile starts where the descriptor is, which is not where a buffered file is.
    """
    return container.section(file, 0, file.seek(0, os.SEEK_END))


def _header(file: BinaryIO) -> _Header | None:
    """Read the headers with libsndfile; None for a format that it does not know."""
    try:
        with soundfile.SoundFile(_without_name(file)) as audio:
            frames = None if audio.frames in (0, _UNKNOWN_FRAMES) else audio.frames
            is_big = audio.endian == "BIG"
            return _Header(frames, audio.format, audio.subtype, is_big, _missing(audio.extra_info))
    except (soundfile.SoundFileError, OSError):
        return None
    finally:
        file.seek(0)


def _missing(log: str) -> tuple[int, int] | None:
    """Return the present and the declared size of a truncated chunk, from the log of libsndfile; None without one."""
    for declared, present in parse_truncated_chunks(log):
        # A few bytes are a sloppy header; a length near 2^31 or 2^32 means unknown, as when writing to a pipe.
        if declared > present + 8 and declared not in UNKNOWN_LENGTHS:
            return present, declared
    return None


def _by_libsndfile(file: BinaryIO, mix: Mix) -> Track:
    return track_of(partial(_libsndfile_blocks, file, mix))


def _libsndfile_blocks(file: BinaryIO, mix: Mix) -> Iterator[Block]:
    try:
        with soundfile.SoundFile(_without_name(file)) as audio:
            rate, length = audio.samplerate, 0
            yield rate, mix(np.zeros((0, audio.channels), np.float32))
            # Not SoundFile.blocks: where a file is truncated it returns uninitialised memory for the missing samples.
            while len(block := audio.read(max(1, BLOCK_SAMPLES // audio.channels), dtype="float32", always_2d=True)):
                length += len(block)
                yield rate, mix(block)
            if length < audio.frames != _UNKNOWN_FRAMES:
                raise UnusableError(f"truncated: {length} of {audio.frames} samples")
    except soundfile.SoundFileError as error:
        reason = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
        raise UnusableError(f"truncated or damaged: {reason.rstrip('.')}") from error
    finally:
        file.seek(0, os.SEEK_SET)
