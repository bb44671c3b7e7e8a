"""Features are equal bit for bit in any decode process and for any length of a recording."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import layerzoo
from layerzoo.errors import SampleError
from layerzoo.features import Features
from layerzoo.media import audio, limits
from layerzoo.runtime import Backbone
from layerzoo.runtime.preprocess import audio as audio_inputs


def is_same(one: Features, other: Features) -> bool:
    return (
        one.ids == other.ids
        and [str(error) for error in one.errors] == [str(error) for error in other.errors]
        and all(np.array_equal(values, other.by_layer[name]) for name, values in one.by_layer.items())
    )


def extracted(backbone: Backbone, inputs: Any, monkeypatch: pytest.MonkeyPatch) -> Features:
    """Return the features, after checking that the number of decode processes does not change them."""
    found = []
    for processes in ("0", "1", "3"):
        monkeypatch.setenv("LAYERZOO_DECODE_PROCESSES", processes)
        found.append(layerzoo.extract(backbone, inputs, errors="skip"))
    assert is_same(found[0], found[1])
    assert is_same(found[0], found[2])
    return found[0]


@pytest.fixture(scope="module")
def images() -> Backbone:
    return layerzoo.load("starter/efficientnet-lite0", layer="stem")


def test_images_have_the_same_features_and_errors_in_the_same_order(
    images: Backbone, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = sorted((samples / "foolbox/data").glob("imagenet_*.jpg"))
    inputs: list[Any] = []
    for i, photo in enumerate(photos):
        path = tmp_path / photo.name
        data = photo.read_bytes()
        path.write_bytes(data[: len(data) // 2] if i % 4 == 1 else data)
        inputs += [path, data if i % 2 else Image.open(photo)]
    inputs[5:5] = [tmp_path / "none.jpg", b"", b"no image", np.zeros((4, 4, 3), np.uint8)]
    found = extracted(images, inputs, monkeypatch)
    assert len(found.ids) + len(found.errors) == len(inputs)
    with pytest.raises(SampleError) as strict:
        layerzoo.extract(images, inputs)
    assert str(strict.value) == str(found.errors[0])


def test_a_decompression_bomb_is_named_and_the_other_files_are_extracted(
    images: Backbone, samples: Path, tmp_path: Path
) -> None:
    photo = samples / "foolbox/data/imagenet_00_243.jpg"
    (tmp_path / "a.jpg").write_bytes(photo.read_bytes())
    Image.new("RGBA", (9400, 9500)).save(tmp_path / "b.webp", lossless=True, method=0)
    (tmp_path / "c.jpg").write_bytes(photo.read_bytes())
    found = layerzoo.extract(images, tmp_path, errors="skip")
    alone = layerzoo.extract(images, photo)
    (error,) = found.errors
    assert error.reason.startswith("decoding it takes more than 1024 MiB of memory, which is the limit. Next: ")
    assert [Path(name).name for name in found.ids] == ["a.jpg", "c.jpg"]
    assert np.allclose(found.by_layer["stem"], alone.by_layer["stem"][0], atol=1e-5)


@pytest.mark.slow
def test_long_audio_has_the_features_of_its_windows(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = layerzoo.load("starter/whisper-tiny-en", layer="stem")
    speech, rate = soundfile.read(samples / "moonshine_onnx/assets/beckett.wav")
    soundfile.write(tmp_path / "long.flac", np.tile(speech, 8), rate)
    soundfile.write(tmp_path / "short.wav", speech, rate)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "long.flac").read_bytes()[:-20_000])
    inputs = [tmp_path / name for name in ("short.wav", "long.flac", "cut.flac", "short.wav", "long.flac")]
    expected = extracted(backbone, inputs, monkeypatch)
    monkeypatch.setattr(limits, "_DEFAULT", replace(limits.Limits(), kept_samples=100_000))
    monkeypatch.setattr(audio_inputs, "_WINDOWS_AT_ONCE", 1)
    assert is_same(expected, extracted(backbone, inputs, monkeypatch))
    monkeypatch.setattr(audio, "_AT_ONCE", 100_000)
    assert is_same(expected, extracted(backbone, inputs, monkeypatch))
    assert len(expected.ids) == 4
    assert "cut.flac" in expected.errors[0].id
