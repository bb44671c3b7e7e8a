"""The kind of a file is inferred from its content, then from its suffix, then as plain text."""

from __future__ import annotations

import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from layerzoo.media.sniff import kind_of_file, kind_of_suffix, sniff


def content(data: bytes) -> tuple[str, str] | None:
    return sniff(io.BytesIO(data))


@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "QOI"]
)
def test_images(format: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, format)
    assert content(file.getvalue()) == ("vision", format.lower())


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64", "VOC"])
def test_audio(format: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(4000), 16_000, format=format)
    assert content(file.getvalue()) == ("audio", {"RF64": "wav"}.get(format, format.lower()))


@pytest.mark.parametrize(
    ("format", "codec", "name"),
    [("mp4", "libx264", "mp4"), ("mov", "libx264", "mp4"), ("matroska", "libx264", "matroska"),
     ("webm", "libvpx", "matroska"), ("avi", "mpeg4", "avi"), ("mpegts", "libx264", "mpeg-ts"), ("flv", "flv", "flv")],
)  # fmt: skip
def test_videos(format: str, codec: str, name: str) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48)))))
        container.mux(stream.encode())
    assert content(file.getvalue()) == ("video", name)


@pytest.mark.parametrize(("format", "codec"), [("mp4", "aac"), ("matroska", "aac"), ("webm", "libopus")])
def test_a_video_container_with_audio_alone_is_audio(format: str, codec: str) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        silence = np.zeros((1, 960), np.float32 if codec == "aac" else np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp" if codec == "aac" else "s16", layout="mono")
        frame.rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = content(file.getvalue())
    assert found is not None
    assert found[0] == "audio"


def test_an_ogg_with_theora_is_a_video() -> None:
    page = b"OggS\0\2" + bytes(20) + b"\1\x2a"
    assert content(page + b"\x80theora\3\2\1") == ("video", "ogg")
    assert content(page + b"\x01vorbis") == ("audio", "ogg")


@pytest.mark.parametrize(
    "text", ["BMW is a car and so is a Mini", "P1 2b or not 2b", "Was free to go", "ID3 is a band", "GIF?", "\ufeffx"]
)
def test_texts_that_begin_like_another_format_are_texts(tmp_path: Path, text: str) -> None:
    (tmp_path / "note").write_text(text, encoding="utf-8")
    assert kind_of_file(tmp_path / "note") == "text"


def test_utf_16_text_is_not_audio() -> None:
    assert content("hello".encode("utf-16")) is None


def test_content_takes_precedence_over_the_suffix_and_the_suffix_over_plain_text(samples: Path, tmp_path: Path) -> None:
    wav = (samples / "moonshine_onnx/assets/beckett.wav").read_bytes()
    for name, data, kind in [
        ("sound.jpg", wav, "audio"),
        ("garbage.jpg", b"\x00\x01garbage", "vision"),
        ("words.jpg", b"just words", "vision"),
        ("empty.mp4", b"", "video"),
        ("words", b"just words", "text"),
        ("words.md", "Grüße".encode(), "text"),
        ("latin.txt", b"caf\xe9", "text"),
        ("program.bin", b"\x7fELF\x00\x01", None),
        ("document.json", b'{"a": 1}', None),
        ("code.ts", b"const a = 1", "text"),
    ]:
        (tmp_path / name).write_bytes(data)
        assert kind_of_file(tmp_path / name) == kind, name


def test_a_character_split_at_the_end_of_the_inspected_bytes(tmp_path: Path) -> None:
    for shift in range(3):
        (tmp_path / "long").write_text("x" * shift + "€" * 20_000, encoding="utf-8")
        assert kind_of_file(tmp_path / "long") == "text"


def test_special_files_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert kind_of_file(tmp_path / "pipe.wav") == "audio"
    assert kind_of_file(tmp_path / "none.png") == "vision"
    assert kind_of_file(tmp_path) is None


def test_suffixes() -> None:
    assert kind_of_suffix("a/B.JPEG") == "vision"
    assert kind_of_suffix(Path("x.parquet")) == "text"
    assert kind_of_suffix("jpg") is None
