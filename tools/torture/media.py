"""Attacks by media files: small files that unpack to something huge, and damaged ones.

After each, the extracting process must be running, within its memory, and must have returned a named error for the file
or its features, and unchanged features for the other files.
"""

from __future__ import annotations

import csv
import io
import json
import random
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image
from tools.torture.outcome import Outcome

MOST_BYTES = 1_500_000_000
"""The additional memory that a run may take beyond that of one sample, including decode processes."""
_SECONDS = 900.0
"""The limit of one request. Five hours of audio have 600 windows."""
_RATE = 16_000
_MODELS = {
    "vision": ("starter/efficientnet-lite0", "stem"),
    "audio": ("starter/whisper-tiny-en", "stem"),
    "video": ("starter/efficientnet-lite0-video", "stem"),
    "text": ("starter/minilm-l6", "stem"),
}


def attacks(random: random.Random, scratch: Path, count: int) -> Iterator[Outcome]:
    """Run the attacks. count: mutations of each format; bombs are all run where it is 40, else ``count`` of them."""
    with _Probe() as probe:
        yield from _bombs(random, scratch, count, probe)
        yield from _mutations(random, scratch, count, probe)


class _Probe:
    """A process of :mod:`tools.torture.media_probe`, restarted if it ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> _Probe:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def ask(self, modality: str, inputs: list[Path], warm: list[Path]) -> dict[str, Any] | str:
        """Return the answer, or how the process ended."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tools.torture.media_probe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        model, layer = _MODELS[modality]
        named = {"inputs": [str(path) for path in inputs], "warm": [str(path) for path in warm]}
        process.stdin.write(json.dumps({"model": model, "layer": layer, **named}) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], _SECONDS)[0]:
            self._end()
            return f"no answer in {_SECONDS:g} s"
        if not (line := process.stdout.readline()):
            code = process.wait()
            self._end()
            return f"the process that extracts ended with code {code}"
        answer: dict[str, Any] = json.loads(line)
        return answer


# ---------------------------------------------------------------- bombs


@dataclass(frozen=True)
class _Bomb:
    name: str
    modality: str
    write: Callable[[Path], None]
    suffix: str
    times: int = 1
    """The number of files in one request."""


def _image(mode: str, **options: Any) -> Callable[[Path], None]:
    return lambda path: Image.new(mode, (9_400, 9_500)).save(path, **options)


def _silence(path: Path, *, hours: float, rate: int = _RATE, channels: int = 1) -> None:
    with soundfile.SoundFile(path, "w", rate, channels) as file:
        block = np.zeros((1 << 20, channels), np.int16)
        for _ in range(round(hours * 3600 * rate) >> 20):
            file.write(block)


def _sparse_wav(path: Path) -> None:
    """Write one hour of audio in a sparse file."""
    size = 120_000_000
    soundfile.write(path, np.zeros(1, np.int16), _RATE)
    head = bytearray(path.read_bytes()[:44])
    head[4:8], head[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(head)
        file.truncate(44 + size)


def _clip(path: Path, width: int, height: int, frames: int, codec: str = "libx264") -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec == "libx264":
            stream.options = {"preset": "ultrafast"}
        frame = av.VideoFrame(width, height, "yuv420p")
        for number in range(frames):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _parquet(column: Callable[[], Any], **options: Any) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pa.table({"text": column()}), path, compression="zstd", **options)


def _long_cell() -> Any:
    return pa.array(["x " * 500_000_000], pa.large_string())


def _one_text_in_many_rows() -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(20, np.int32)), pa.array(["x " * 500_000]))


def _text(make: Callable[[], str]) -> Callable[[Path], None]:
    return lambda path: _written(path, make())


def _written(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _long_row(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("text,b\n")
        for _ in range(60):
            file.write('"' + "a b\n" * 1_000_000 + '",')
        file.write("x\n")


BOMBS = (
    _Bomb("WebP of 89 megapixels with transparency", "vision", _image("RGBA", lossless=True), "webp"),
    _Bomb("twelve PNGs of 89 megapixels", "vision", _image("L", compress_level=1), "png", times=12),
    _Bomb("PNG of 89 megapixels with transparency", "vision", _image("RGBA", compress_level=1), "png"),
    _Bomb("PNG of 89 megapixels in 16 bits", "vision", _image("I;16", compress_level=1), "png"),
    _Bomb("progressive JPEG of 89 megapixels", "vision", _image("RGB", progressive=True), "jpg"),
    _Bomb("GIF of 89 megapixels", "vision", _image("P"), "gif"),
    _Bomb("TIFF of 89 megapixels", "vision", _image("RGB", compression="tiff_lzw"), "tif"),
    _Bomb("FLAC of 1 MB, 5 hours of silence", "audio", lambda path: _silence(path, hours=5), "flac"),
    _Bomb("FLAC of 8 channels, 20 minutes", "audio", lambda path: _silence(path, hours=0.34, channels=8), "flac"),
    _Bomb("WAV of an hour with a hole", "audio", _sparse_wav, "wav"),
    _Bomb("MP4 of 8160 × 8160 pixels", "video", lambda path: _clip(path, 8160, 8160, 2), "mp4"),
    _Bomb("MP4 of 6000 × 5990 pixels", "video", lambda path: _clip(path, 6000, 5990, 6), "mp4"),
    _Bomb("MP4 of 3840 × 2160 pixels", "video", lambda path: _clip(path, 3840, 2160, 24), "mp4"),
    _Bomb("Parquet with a cell of 1 GB", "text", _parquet(_long_cell), "parquet"),
    _Bomb("Parquet with one text of 1 MB in 20 rows", "text", _parquet(_one_text_in_many_rows), "parquet"),
    _Bomb("CSV with a row of 240 MB", "text", _long_row, "csv"),
    _Bomb("CSV with 10 million columns", "text", _text(lambda: "text" + "," * 10_000_000 + "\nx\n"), "csv"),
    _Bomb(
        "JSON Lines nested 4 million deep",
        "text",
        _text(lambda: '{"text": "a", "b": ' + "[" * 4_000_000 + "]" * 4_000_000 + '}\n{"text": "b"}\n'),
        "jsonl",
    ),
    _Bomb(
        "JSON Lines with an array of 5 million objects",
        "text",
        _text(lambda: '{"text": "a", "b": [' + "{}," * 5_000_000 + '{}]}\n{"text": "b"}\n'),
        "jsonl",
    ),
    _Bomb("a text of 16 MB", "text", _text(lambda: "word " * 3_000_000 + "\nb\n"), "txt"),
    _Bomb("a text of 16 MB without a space", "text", _text(lambda: "x" * 15_000_000 + "\nb\n"), "txt"),
)


def _bombs(random: random.Random, scratch: Path, count: int, probe: _Probe) -> Iterator[Outcome]:
    chosen = BOMBS if count >= 40 else [BOMBS[0], *random.sample(_QUICK, min(count, len(_QUICK)))]
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    warm = _good_files(scratch)
    try:
        for bomb in chosen:
            path = scratch / f"bomb.{bomb.suffix}"
            bomb.write(path)
            failure = _why_not_held(probe.ask(bomb.modality, [path] * bomb.times, [warm[bomb.modality]]), [str(path)])
            yield Outcome(
                f"{bomb.name} ({path.stat().st_size:,} bytes)",
                tried=1,
                held=int(failure is None),
                promise=f"features or a named error; memory rises by less than {MOST_BYTES / 1e9} GB",
                failures=() if failure is None else (failure,),
            )
            path.unlink()
    finally:
        Image.MAX_IMAGE_PIXELS = limit


_QUICK = [bomb for bomb in BOMBS if bomb.name.startswith(("MP4 of 8160", "JSON Lines", "CSV with 10"))]
"""The bombs that take a second or two."""


def _why_not_held(answer: dict[str, Any] | str, inputs: list[str]) -> str | None:
    if isinstance(answer, str):
        return answer
    if answer["above_bytes"] > MOST_BYTES:
        return f"the memory rose by {answer['above_bytes'] / 1e9:.2f} GB"
    if not answer["is_finite"]:
        return "features that are not finite"
    named = {*answer["ids"], *answer["errors"]}
    if missing := [name for name in inputs if not any(each.startswith(name) for each in named)]:
        return f"no features and no error of {', '.join(missing)}"
    if not all(answer["errors"].values()):
        return "an error without a reason"
    return None


# ---------------------------------------------------------------- damaged files


def _good_files(scratch: Path) -> dict[str, Path]:
    """Write a small file of each modality."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    good = {
        "vision": scratch / "good.png",
        "audio": scratch / "good.wav",
        "video": scratch / "good.mp4",
        "text": scratch / "good.txt",
    }
    if not good["text"].exists():
        Image.fromarray(noise).save(good["vision"])
        soundfile.write(good["audio"], np.sin(np.arange(_RATE) / 10) / 3, _RATE)
        _clip(good["video"], 64, 48, 8)
        _written(good["text"], "words\n")
    return good


def _encoded_image(format: str, **options: Any) -> Callable[[], bytes]:
    def encoded() -> bytes:
        file = io.BytesIO()
        noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(noise).resize((96, 128)).save(file, format, **options)
        return file.getvalue()

    return encoded


def _encoded_audio(format: str, codec: str, layout: str = "mono", rate: int = 48_000) -> Callable[[], bytes]:
    def encoded() -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format=format) as container:
            stream: Any = container.add_stream(codec, rate=rate, layout=layout)
            stream.codec_context.open()
            samples = stream.codec_context.frame_size or 1024
            wave = (np.sin(np.arange(samples) / 20) / 3).astype(np.float32)
            for number in range(rate // samples):
                frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, number * samples, Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return file.getvalue()

    return encoded


def _encoded_by_libsndfile(format: str) -> Callable[[], bytes]:
    def encoded() -> bytes:
        file = io.BytesIO()
        soundfile.write(file, np.sin(np.arange(_RATE) / 10) / 3, _RATE, format=format)
        return file.getvalue()

    return encoded


def _encoded_video(format: str, codec: str) -> Callable[[], bytes]:
    def encoded() -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format=format) as container:
            stream: Any = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(12):
                shade = np.full((48, 64, 3), 20 * number, np.uint8)
                frame = av.VideoFrame.from_ndarray(shade, format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return file.getvalue()

    return encoded


def _rows() -> list[str]:
    return [f"text number {number} of these" for number in range(50)]


def _encoded_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"text": _rows(), "n": range(50)}), file)
    return file.getvalue()


def _encoded_csv() -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerows([["n", "text"], *([number, f'"{text}",\n'] for number, text in enumerate(_rows()))])
    return file.getvalue().encode()


def _encoded_json_lines() -> bytes:
    return "".join(json.dumps({"text": text, "n": [1, {}]}) + "\n" for text in _rows()).encode()


FORMATS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "jpg": ("vision", _encoded_image("JPEG")),
    "png": ("vision", _encoded_image("PNG")),
    "gif": ("vision", _encoded_image("GIF")),
    "webp": ("vision", _encoded_image("WEBP")),
    "tif": ("vision", _encoded_image("TIFF", compression="tiff_lzw")),
    "bmp": ("vision", _encoded_image("BMP")),
    "jp2": ("vision", _encoded_image("JPEG2000")),
    "avif": ("vision", _encoded_image("AVIF")),
    "wav": ("audio", _encoded_by_libsndfile("WAV")),
    "flac": ("audio", _encoded_by_libsndfile("FLAC")),
    "ogg": ("audio", _encoded_by_libsndfile("OGG")),
    "opus": ("audio", _encoded_audio("ogg", "libopus")),
    "mp3": ("audio", _encoded_audio("mp3", "libmp3lame")),
    "m4a": ("audio", _encoded_audio("ipod", "aac")),
    "mp4": ("video", _encoded_video("mp4", "libx264")),
    "webm": ("video", _encoded_video("webm", "libvpx-vp9")),
    "mkv": ("video", _encoded_video("matroska", "libx264")),
    "avi": ("video", _encoded_video("avi", "mpeg4")),
    "parquet": ("text", _encoded_parquet),
    "csv": ("text", _encoded_csv),
    "jsonl": ("text", _encoded_json_lines),
}
"""Every supported format by suffix: its modality, and a small file."""


def mutated(data: bytes, random: random.Random) -> bytes:
    """Return a file with one kind of damage.

    The kinds are flipped bits, truncation, a field of large values, a repeated chunk, and zeros.
    """
    damaged = bytearray(data)
    kind = random.randrange(5)
    at = random.randrange(len(damaged))
    if random.random() < 0.5:
        at = min(at, random.randrange(1, 200), len(damaged) - 1)  # headers are at the beginning
    length = random.choice((1, 2, 4, 8, 64))
    if kind == 0:
        for _ in range(random.choice((1, 1, 3, 20))):
            place = random.randrange(len(damaged))
            damaged[place] ^= 1 << random.randrange(8)
    elif kind == 1:
        del damaged[at:]
    elif kind == 2:
        large = random.choice((b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\xff\xff\xff\x7f" * 2))
        damaged[at : at + min(length, 8)] = large[: min(length, 8)]
    elif kind == 3:
        damaged[at:at] = damaged[at : at + 64 * length] * random.choice((1, 2, 50))
    else:
        damaged[at : at + length] = bytes(length)
    return bytes(damaged)


def _mutations(random: random.Random, scratch: Path, count: int, probe: _Probe) -> Iterator[Outcome]:
    good = _good_files(scratch)
    expected = {modality: probe.ask(modality, [path], []) for modality, path in good.items()}
    for suffix, (modality, encode) in FORMATS.items():
        data = encode()
        files = []
        for number in range(count):
            files.append(scratch / f"{number}.{suffix}")
            files[-1].write_bytes(mutated(data, random))
        failures = _failures_of_mutations(probe, modality, files, good[modality], expected[modality])
        yield Outcome(
            f"damaged .{suffix}",
            tried=count,
            held=count - len(failures),
            promise="features or a named error, and the files next to it are extracted",
            failures=tuple(failures[:10]),
        )
        for file in files:
            file.unlink()


def _failures_of_mutations(
    probe: _Probe, modality: str, files: list[Path], good: Path, expected: dict[str, Any] | str
) -> list[str]:
    """Return how the promise was broken. All files are read in one run, and one by one if it fails."""
    failure = _failure_of(probe, modality, [good, *files, good], expected)
    if failure is None:
        return []
    alone = [(file, _failure_of(probe, modality, [good, file], expected)) for file in files]
    return [f"{file.name}: {why}" for file, why in alone if why is not None] or [failure]


def _failure_of(probe: _Probe, modality: str, files: list[Path], expected: dict[str, Any] | str) -> str | None:
    answer = probe.ask(modality, files, files[:1])
    if (failure := _why_not_held(answer, [str(file) for file in files])) is not None:
        return failure
    assert not isinstance(answer, str)
    if isinstance(expected, str):
        return expected
    found, wanted = answer["ids"].count(expected["ids"][0]), files.count(files[0])
    return None if found == wanted else f"{found} of {wanted} good files have features"
