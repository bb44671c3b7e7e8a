"""Every format is decoded to the samples of FFmpeg, up to its end; fewer samples than declared are an error."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import soxr

from layerzoo.errors import SampleError
from layerzoo.media.audio import decode
from layerzoo.media.sniff import kind_of_file

RATE = 16_000
Samples = Any


def tone(hz: float, seconds: float = 1.1, rate: int = RATE, channels: int = 1) -> Samples:
    """Return (time, channel) samples. Each channel is half as loud as the one before."""
    time = np.arange(int(seconds * rate)) / rate
    return np.stack([0.5 * np.sin(2 * np.pi * hz * time) / 2**i for i in range(channels)], 1).astype(np.float32)


def by_libsndfile(samples: Samples, format: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def by_ffmpeg(
    samples: Samples, format: str, codec: str, rate: int = RATE, bit_rate: int | None = None, **options: str
) -> bytes:
    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[1]]
    with av.open(file, "w", format=format, options=options) as container:
        add_audio(container, samples, codec, rate, layout, bit_rate)
    return file.getvalue()


def add_audio(
    container: Any, samples: Samples, codec: str, rate: int, layout: str, bit_rate: int | None = None
) -> None:
    stream = container.add_stream(codec, rate=rate, layout=layout, options={"strict": "-2"})
    if bit_rate:
        stream.bit_rate = bit_rate
    encoder = stream.codec_context
    encoder.open()
    resampler = av.AudioResampler(encoder.format.name, layout, rate, encoder.frame_size or 1024)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
        container.mux(stream.encode(piece))


def ffmpeg_samples(data: bytes) -> Samples:
    """Return (time,) samples at the rate of the file: the mean of the channels that FFmpeg decodes."""
    with av.open(io.BytesIO(data)) as container:
        resampler = av.AudioResampler("fltp")
        blocks = [piece for f in container.decode(container.streams.best("audio")) for piece in resampler.resample(f)]
    return np.concatenate([block.to_ndarray() for block in blocks], axis=1).mean(axis=0, dtype=np.float32)


def refusal(data: bytes) -> str:
    with pytest.raises(SampleError) as caught:
        decode(data, RATE)
    return caught.value.reason


def pitch(samples: Samples) -> float:
    """Return the strongest frequency, in Hz, of samples at RATE."""
    spectrum = np.abs(np.fft.rfft(samples))
    return float(spectrum.argmax() * RATE / len(samples))


LOSSLESS = [
    *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("WAVEX", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT")),
    *(("RF64", subtype) for subtype in ("PCM_16", "PCM_24", "DOUBLE")),
    *(("W64", subtype) for subtype in ("PCM_16", "PCM_32", "ULAW")),
    *(("AIFF", subtype) for subtype in ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ALAW")),
    *(("AU", subtype) for subtype in ("PCM_S8", "PCM_16", "PCM_24", "DOUBLE", "ULAW")),
    *(("CAF", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "ALAC_16", "ALAC_24", "ALAC_32")),
    *(("FLAC", subtype) for subtype in ("PCM_S8", "PCM_16", "PCM_24")),
    *(("VOC", subtype) for subtype in ("PCM_16", "ULAW")),
    *(("NIST", "PCM_16"), ("SVX", "PCM_16"), ("PVF", "PCM_16"), ("IRCAM", "FLOAT"), ("MAT5", "FLOAT"), ("HTK",
    "PCM_16")), *(("AU", "G721_32"), ("WAV", "G721_32"), ("WAV", "NMS_ADPCM_32")),
]  # fmt: skip


LOSSY = ("ADPCM", "GSM610", "VORBIS", "OPUS", "MPEG")
"""Parts of the names of encodings that two decoders may decode differently, or to another length."""


def written_by_libsndfile() -> list[tuple[str, str, str]]:
    """Yield every format, encoding and byte order of libsndfile, except SD2, which stores its header in a second
    file."""
    return [
        (kind, subtype, endian)
        for kind in soundfile.available_formats()
        for subtype in soundfile.available_subtypes(kind)
        for endian in ("FILE", "LITTLE", "BIG")
        if kind != "SD2" and soundfile.check_format(kind, subtype, endian)
    ]


def test_every_format_encoding_and_byte_order_equals_libsndfile(tmp_path: Path) -> None:
    """Files on the disk, where the position of a descriptor matters, and not only bytes in memory."""
    wrong: dict[tuple[str, str, str, int], str] = {}
    compared = 0
    for kind, subtype, endian in written_by_libsndfile():
        for channels in (1, 2):
            path = tmp_path / "file.audio"
            try:
                soundfile.write(path, tone(440, 0.25, channels=channels), RATE, subtype, endian, kind)
                expected, rate = soundfile.read(path, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, ValueError):
                continue  # not with so many channels, or libsndfile only reads it
            found, expected = decode(path, rate), expected.mean(axis=1)
            compared += 1
            if any(name in subtype for name in LOSSY) and "NMS" not in subtype:
                if not np.isclose(np.std(found), np.std(expected), rtol=0.1):
                    wrong[kind, subtype, endian, channels] = f"std {np.std(found):.3f}, not {np.std(expected):.3f}"
            elif not np.array_equal(found, expected):
                size = min(len(found), len(expected))
                wrong[kind, subtype, endian, channels] = f"{np.abs(found[:size] - expected[:size]).max():.3f}"
    assert wrong == {}
    assert compared > 400


def test_integers_of_64_bits_are_read() -> None:
    samples = np.array([-(2**63), -(2**62), 0, 2**62, 2**63 - 1], "<i8")
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + samples.nbytes, b"WAVE", b"fmt ", 16, 1, 1, RATE,
                         8 * RATE, 8, 64, b"data", samples.nbytes)  # fmt: skip
    assert decode(header + samples.tobytes(), RATE).tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


class TestLossless:
    @pytest.mark.parametrize(("format", "subtype"), LOSSLESS)
    def test_every_sample_equals_libsndfile(self, format: str, subtype: str) -> None:
        for channels in (1, 2, 6):
            noise = np.random.default_rng(0).normal(0, 0.2, (RATE // 2 + 7, channels)).clip(-1, 1)
            try:
                data = by_libsndfile(noise, format, subtype)
            except (soundfile.SoundFileError, ValueError):
                continue
            expected = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].mean(axis=1)
            assert np.array_equal(decode(data, RATE), expected)

    @pytest.mark.parametrize(
        ("format", "codec"),
        [("flac", "flac"), ("ogg", "flac"), ("ipod", "alac"), ("caf", "alac"), ("matroska", "alac"), ("mp4", "flac"),
         ("mov", "pcm_s24be"), ("matroska", "pcm_s16le"), ("avi", "pcm_s16le"), ("wv", "wavpack"), ("tta", "tta"),
         ("nut", "pcm_s16le")],
    )  # fmt: skip
    def test_every_sample_equals_ffmpeg(self, format: str, codec: str) -> None:
        for channels in (1, 2, 6):
            data = by_ffmpeg(tone(440, channels=channels), format, codec)
            decoded = decode(data, RATE)
            assert len(decoded) == int(1.1 * RATE)
            assert np.allclose(decoded, ffmpeg_samples(data), atol=1e-7)

    def test_24_valid_bits_in_32_are_scaled(self) -> None:
        """FFmpeg decodes these as the floating point format of an old program."""
        samples = tone(440)[:, 0]
        guid = bytes.fromhex("0100000000001000800000aa00389b71")
        fmt = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, RATE * 4, 4, 32, 22, 24, 4) + guid
        integers = np.round(samples * 2**23).astype("<i4") << 8
        body = b"WAVEfmt " + struct.pack("<I", 40) + fmt + b"data" + struct.pack("<I", 4 * len(samples))
        body += integers.tobytes()
        data = b"RIFF" + struct.pack("<I", len(body)) + body
        assert np.allclose(decode(data, RATE), samples, atol=2**-23)


class TestKinds:
    @pytest.mark.parametrize(
        ("format", "codec"), [("ac3", "ac3"), ("eac3", "eac3"), ("wv", "wavpack"), ("tta", "tta"), ("asf", "wmav2")]
    )
    def test_the_format_is_detected_from_the_content(self, format: str, codec: str, tmp_path: Path) -> None:
        path = tmp_path / "sample"
        path.write_bytes(by_ffmpeg(tone(440, rate=32_000, channels=2), format, codec, 32_000, 48_000))
        assert kind_of_file(path) == "audio"

    @pytest.mark.parametrize("text", ["MAC addresses", "TTA is", "\x0bw of", "DSD is", "qoa"])
    def test_a_text_with_a_similar_beginning_is_a_text(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "sample").write_text(text)
        assert kind_of_file(tmp_path / "sample") in ("text", None)


class TestLossy:
    @pytest.mark.parametrize(
        ("format", "codec"),
        [("mp3", "libmp3lame"), ("wav", "libmp3lame"), ("wav", "adpcm_ms"), ("wav", "adpcm_ima_wav"), ("wav", "mp2"),
         ("w64", "libmp3lame"), ("aiff", "adpcm_ima_qt"), ("adts", "aac"), ("ipod", "aac"), ("matroska", "aac"),
         ("mpegts", "aac"), ("latm", "aac"), ("flv", "aac"), ("mp4", "libopus"), ("webm", "libopus"), ("ogg",
         "libopus"), ("ogg", "vorbis"), ("webm", "vorbis"), ("ac3", "ac3"), ("eac3", "eac3"), ("wav", "ac3"), ("mp4",
         "ac3"), ("asf", "wmav2"), ("asf", "wmav1"), ("amr", "libopencore_amrnb"), ("mp2", "mp2"), ("avi",
         "libmp3lame")],
    )  # fmt: skip
    def test_the_samples_equal_ffmpeg(self, format: str, codec: str) -> None:
        rate = {"libopus": 48_000, "ac3": 32_000, "eac3": 32_000, "flv": 44_100, "libopencore_amrnb": 8_000}.get(
            codec, 44_100 if format == "flv" else RATE
        )
        channels = {"vorbis": 2, "libopencore_amrnb": 1}.get(codec, 2)
        bit_rate = {"libopencore_amrnb": 12_200}.get(codec, 48_000 if "wma" in codec else None)
        data = by_ffmpeg(tone(440, rate=rate, channels=channels), format, codec, rate, bit_rate)
        decoded, expected = decode(data, rate), ffmpeg_samples(data)
        assert len(decoded) == len(expected) > rate
        assert np.allclose(decoded, expected, atol=1e-6)

    def test_gsm_in_wav(self) -> None:
        data = by_libsndfile(tone(440), "WAV", "GSM610")
        assert np.allclose(decode(data, RATE), ffmpeg_samples(data), atol=1e-6)

    @pytest.mark.parametrize("options", [{"abr": "1"}, {"flags": "+qscale", "global_quality": "590"}, {}])
    def test_mp3_without_a_count_of_its_frames(self, options: dict[str, str]) -> None:
        """The length must not be estimated from the bit rate of the first frames."""
        parts = [np.random.default_rng(0).normal(0, 0.2, (2 * RATE, 1)), np.zeros((2 * RATE, 1)), tone(300, 2)]
        for samples in (np.concatenate(parts), np.concatenate(parts[::-1])):
            file = io.BytesIO()
            with av.open(file, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as container:
                stream = container.add_stream("libmp3lame", rate=RATE, layout="mono", options=options)
                resampler = av.AudioResampler("s16p", "mono", RATE, 576)
                frame = av.AudioFrame.from_ndarray(samples.astype(np.float32).T.copy(), format="fltp", layout="mono")
                frame.sample_rate, frame.pts = RATE, 0
                for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
                    container.mux(stream.encode(piece))
            decoded = decode(file.getvalue(), RATE)
            assert len(decoded) == len(ffmpeg_samples(file.getvalue()))
            assert abs(len(decoded) - 6 * RATE) <= 3 * 576


class TestJoinedFiles:
    @pytest.mark.parametrize("second", [(RATE, 1), (24_000, 1), (RATE, 2), (48_000, 2)])
    @pytest.mark.parametrize(("format", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", None), ("MP3", None)])
    def test_all_parts_are_decoded(self, format: str, subtype: str | None, second: tuple[int, int]) -> None:
        rate, channels = second
        parts = [
            by_libsndfile(tone(300, 2), format, subtype),
            by_libsndfile(tone(2500, 2, rate, channels), format, subtype, rate),
            by_libsndfile(tone(700, 2), format, subtype),
        ]
        decoded = decode(b"".join(parts), RATE)
        assert abs(len(decoded) - 6 * RATE) < 0.3 * RATE
        middles = [decoded[int((2 * i + 0.6) * RATE) : int((2 * i + 1.4) * RATE)] for i in range(3)]
        assert [pitch(middle) for middle in middles] == pytest.approx([300, 2500, 700], abs=2)

    @pytest.mark.parametrize(
        "second", [("ogg", "libopus", 48_000, 1), ("ogg", "flac", 44_100, 2), ("ogg", "vorbis", 22_050, 2)]
    )
    @pytest.mark.parametrize(
        "first", [("ogg", "libopus", 48_000, 1), ("ogg", "flac", RATE, 1), ("ogg", "vorbis", RATE, 2)]
    )
    def test_ogg_parts_of_different_codecs(
        self, first: tuple[str, str, int, int], second: tuple[str, str, int, int]
    ) -> None:
        parts = [
            by_ffmpeg(tone(hz, 2, rate, channels), container, codec, rate)
            for hz, (container, codec, rate, channels) in zip((300, 900, 700), (first, second, first), strict=True)
        ]
        decoded = decode(b"".join(parts), RATE)
        assert abs(len(decoded) - 6 * RATE) < 0.1 * RATE
        middles = [decoded[int((2 * i + 0.6) * RATE) : int((2 * i + 1.4) * RATE)] for i in range(3)]
        assert [pitch(middle) for middle in middles] == pytest.approx([300, 900, 700], abs=2)

    @pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
    def test_many_parts_equal_ffmpeg(self, subtype: str) -> None:
        data = by_libsndfile(tone(300, 0.7, 48_000), "OGG", subtype, 48_000) * 12
        assert len(decode(data, 48_000)) == len(ffmpeg_samples(data))

    def test_parts_of_lossless_files_are_complete(self) -> None:
        parts = [tone(300), tone(900, rate=24_000), tone(700)]
        data = b"".join(by_libsndfile(p, "FLAC", "PCM_24", r) for p, r in zip(parts, (RATE, 24_000, RATE), strict=True))
        stored = [np.round(part[:, 0] * 2**23) / 2**23 for part in parts]
        stored[1] = soxr.resample(stored[1].astype(np.float32), 24_000, RATE, quality="HQ")
        assert np.allclose(decode(data, RATE), np.concatenate(stored), atol=1e-6)

    def test_tags_between_and_after_the_parts_do_not_matter(self) -> None:
        part = by_libsndfile(tone(300), "MP3")
        tag = b"ID3\x03\0\0\0\0\x01\x0a" + b"y" * 138
        assert len(decode(tag + part + tag + part + b"TAG" + b"x" * 125, RATE)) >= 2 * 1.1 * RATE


def wav(pcm: bytes, riff: int, data: int) -> bytes:
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    return b"RIFF" + struct.pack("<I", riff) + head + b"data" + struct.pack("<I", data) + pcm


_PCM_TYPES = "PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW"
_CUT_IN_A_FRAME = {
    "WAV": f"PCM_U8 {_PCM_TYPES} IMA_ADPCM MS_ADPCM GSM610 G721_32",
    "WAVEX": "PCM_24 FLOAT",
    "RF64": "PCM_U8 PCM_24 FLOAT",
    "W64": "PCM_U8 PCM_16 FLOAT MS_ADPCM",
    "AIFF": f"PCM_S8 {_PCM_TYPES} IMA_ADPCM GSM610",
    "AU": "PCM_S8 PCM_24 DOUBLE ULAW G721_32",
    "CAF": "PCM_S8 PCM_24 FLOAT ALAC_16",
    "FLAC": "PCM_S8 PCM_16 PCM_24",
    "OGG": "VORBIS OPUS",
    "VOC": "PCM_16 ULAW",
    "NIST": "PCM_16 PCM_24",
    "SVX": "PCM_16",
    "MP3": "MPEG_LAYER_III",
}
_LAST_BYTE_IS_NO_SAMPLE = {("WAV", "GSM610"), ("VOC", "PCM_16"), ("VOC", "ULAW")}


class TestLengths:
    @pytest.mark.parametrize(
        ("riff", "data"),
        [(0, 0), (36, 0), (8, 0), (-1, -1), (-1, 0), (0, -1), (2**31 - 1, 2**31 - 37), (None, 0), (0, None)],
    )
    def test_a_wav_that_was_never_finalised(self, riff: int | None, data: int | None) -> None:
        pcm = (tone(300) * 32767).astype("<i2").tobytes()
        lengths = [
            true if given is None else given % 2**32 for given, true in ((riff, len(pcm) + 36), (data, len(pcm)))
        ]
        decoded = decode(wav(pcm, *lengths), RATE)
        assert np.array_equal(decoded, np.frombuffer(pcm, "<i2") / np.float32(32768))

    def test_a_wav_whose_data_is_longer_than_declared_ends_where_ffmpeg_ends(self) -> None:
        pcm = (tone(300) * 32767).astype("<i2").tobytes()
        data = wav(pcm, len(pcm) + 36, 8000)
        assert len(decode(data, RATE)) == len(ffmpeg_samples(data)) == 4000

    @pytest.mark.parametrize("declared", [0, 5_000])
    def test_flac_whose_header_counts_too_few_samples(self, declared: int) -> None:
        data = bytearray(by_libsndfile(tone(300), "FLAC"))
        data[22:26] = struct.pack(">I", declared)
        assert len(decode(bytes(data), RATE)) == int(1.1 * RATE)

    def test_flac_whose_header_counts_more_samples_than_there_are(self) -> None:
        data = bytearray(by_libsndfile(tone(300), "FLAC"))
        data[22:26] = struct.pack(">I", 64_000)
        assert refusal(bytes(data)) == "truncated: 17600 of 64000 samples"

    @pytest.mark.parametrize("share", [0.4, 0.97])
    @pytest.mark.parametrize(
        ("format", "codec"),
        [("wav", "libmp3lame"), ("ipod", "aac"), ("matroska", "aac"), ("webm", "libopus"), ("caf", "alac"),
         ("wv", "wavpack"), ("tta", "tta"), ("asf", "wmav2"), ("avi", "pcm_s16le"), ("ogg", "libopus"),
         ("mp3", "libmp3lame"), ("sox", "pcm_s32le"), ("rm", "ac3"), ("flv", "libmp3lame")],
    )  # fmt: skip
    def test_a_truncated_file(self, format: str, codec: str, share: float) -> None:
        rate = {"libopus": 48_000, "ac3": 44_100, "libmp3lame": 44_100}.get(codec, RATE)
        data = by_ffmpeg(tone(440, 3, rate, 2), format, codec, rate, 48_000 if "wma" in codec else None)
        assert refusal(data[: int(share * len(data))]).startswith("truncated")

    @pytest.mark.parametrize("cut", [1, 3, 5, 1000])
    @pytest.mark.parametrize(
        ("format", "subtype"),
        [(name, subtype) for name, subtypes in _CUT_IN_A_FRAME.items() for subtype in subtypes.split()],
    )
    def test_a_file_truncated_in_its_last_frame(self, format: str, subtype: str, cut: int) -> None:
        channels = 1 if subtype in ("GSM610", "G721_32") or format == "SVX" else 2
        data = by_libsndfile(tone(300, channels=channels)[:16_001], format, subtype)
        whole = decode(data, RATE)
        # A last byte that makes the length even, or ends the file, belongs to no sample.
        if cut == 1 and (format, subtype) in _LAST_BYTE_IS_NO_SAMPLE:
            assert np.array_equal(decode(data[:-1], RATE), whole)
        else:
            assert refusal(data[:-cut]).startswith("truncated")

    @pytest.mark.parametrize("data", [64_001, 64_000], ids=["odd", "even"])
    def test_a_wav_with_other_chunks_after_its_samples_is_complete(self, data: int) -> None:
        pcm = bytes(64_000) + b"\0" * (data % 2)
        after = b"LIST" + struct.pack("<I", 4) + b"INFO"
        file = wav(pcm, 0, data) + b"\0" * (data % 2) + after
        assert len(decode(file, RATE)) == 32_000

    @pytest.mark.parametrize(("format", "codec"), [("adts", "aac"), ("ac3", "ac3"), ("mp2", "mp2")])
    def test_a_truncated_stream_without_a_declared_length_gives_its_samples(self, format: str, codec: str) -> None:
        rate = 32_000
        data = by_ffmpeg(tone(440, 3, rate, 2), format, codec, rate)
        assert 0.85 < len(decode(data[: len(data) * 9 // 10], rate)) / (3 * rate) < 0.92


class TestDamage:
    def test_a_seek_outside_of_the_file_is_no_error_of_its_own(self, tmp_path: Path) -> None:
        """FFmpeg looks for the index at the end of a NUT file, which is cut off."""
        data = by_ffmpeg(tone(440), "nut", "flac")
        (tmp_path / "cut.nut").write_bytes(cut := data[: len(data) * 8 // 10])
        for source in (cut, tmp_path / "cut.nut"):
            with pytest.raises(SampleError, match="truncated: the audio at"):
                decode(source, RATE)

    @pytest.mark.parametrize(("format", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", None)])
    @pytest.mark.parametrize("share", [0.3, 0.6])
    def test_samples_lost_in_the_middle_are_an_error(self, format: str, subtype: str | None, share: float) -> None:
        noise = np.random.default_rng(0).normal(0, 0.1, (20 * RATE, 1)).clip(-1, 1)
        data = bytearray(by_libsndfile(noise, format, subtype))
        middle = int(share * len(data))
        data[middle : middle + 400] = bytes(400)
        assert refusal(bytes(data)).startswith("damaged")
        del data[middle : middle + len(data) // 10]
        assert refusal(bytes(data)).startswith("damaged")

    def test_mp3(self) -> None:
        data = bytearray(by_ffmpeg(tone(300, 5), "mp3", "libmp3lame"))
        middle = len(data) // 2
        data[middle : middle + 3000] = bytes(range(250)) * 12
        assert refusal(bytes(data)).startswith(("damaged", "truncated"))

    @pytest.mark.parametrize(
        "data", [b"RIFF\0\0\0\0", b"fLaC", b"OggS", b"ID3\x03", b"\xff\xfb\x90\x00", b"FORM", b"x"]
    )
    def test_a_header_alone(self, data: bytes) -> None:
        refusal(data)
        refusal(data + bytes(100))
        refusal(data + bytes(range(256)) * 4)


class TestStreams:
    def test_the_best_of_several_audio_streams_is_decoded(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as container:
            streams = [container.add_stream("pcm_s16le", rate=RATE, layout=layout) for layout in ("mono", "5.1")]
            for stream, hz in zip(streams, (300, 900), strict=True):
                samples = (tone(hz, channels=stream.channels) * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=stream.layout.name)
                frame.sample_rate, frame.pts = RATE, 0
                container.mux(stream.encode(frame))
        with av.open(io.BytesIO(file.getvalue())) as container:
            best = container.streams.best("audio")
            assert best is not None
            assert best.index == 1
        assert pitch(decode(file.getvalue(), RATE)) == pytest.approx(900, abs=2)

    def test_the_audio_track_of_a_video(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            video = container.add_stream("libx264", rate=10)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            add_audio(container, tone(700), "aac", RATE, "mono")
            for _ in range(11):
                black = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
                container.mux(video.encode(black))
            container.mux(video.encode())
        assert pitch(decode(file.getvalue(), RATE)) == pytest.approx(700, abs=2)

    def test_a_cover_image_alone_is_not_audio(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as container:
            stream = container.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuvj420p")))
            container.mux(stream.encode())
        assert refusal(file.getvalue()).startswith("no audio stream")

    def test_a_sample_rate_that_changes_within_a_stream(self) -> None:
        data = by_ffmpeg(tone(300, 2, 32_000, 2), "ac3", "ac3", 32_000)
        data += by_ffmpeg(tone(900, 2, 48_000, 2), "ac3", "ac3", 48_000)
        decoded = decode(data, RATE)
        assert abs(len(decoded) - 4 * RATE) < 0.3 * RATE
        parts = decoded[RATE // 2 : 3 * RATE // 2], decoded[5 * RATE // 2 : 7 * RATE // 2]
        assert [pitch(part) for part in parts] == pytest.approx([300, 900], abs=2)
