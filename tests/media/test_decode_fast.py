"""``decode="fast"``: large JPEGs are decoded at a reduced scale, and show the same; all other images are as before."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from layerzoo.errors import SampleError
from layerzoo.media import image, operations
from layerzoo.spec import ImagePreprocess

SCALE: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
SQUARE = ImagePreprocess(size_px=(96, 96), resize="bicubic", crop=0.875, **SCALE)
WIDE = ImagePreprocess(size_px=(64, 128), resize="bilinear", fit="squash", **SCALE)
PADDED = ImagePreprocess(size_px=(96, 80), resize="lanczos", fit="pad", **SCALE)
NEAR = 1.5 / 255
"""Mean difference of a pixel: each decoding rounds to 1/255."""


@pytest.fixture(scope="module")
def photo(samples: Path) -> Image.Image:
    """Return a photograph of a size that no scale divides."""
    with Image.open(samples / "skimage/data/retina.jpg") as original:
        return original.convert("RGB").resize((1601, 1203), Image.Resampling.LANCZOS)


def encoded(photo: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


def decoded(source: Any, declared: ImagePreprocess, *, fast: bool) -> NDArray[np.float32]:
    (part,) = operations.run("image", source, {"preprocess": declared} | ({"reduce": declared} if fast else {}))
    array: NDArray[np.float32] = part.data
    return array


def difference(source: Any, declared: ImagePreprocess) -> float:
    return float(np.abs(decoded(source, declared, fast=True) - decoded(source, declared, fast=False)).mean())


@pytest.mark.parametrize("declared", [SQUARE, WIDE, PADDED], ids=["crop", "squash", "pad"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_shows_the_same_in_every_orientation(
    photo: Image.Image, declared: ImagePreprocess, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = encoded(photo, quality=90, exif=exif)
    assert 0 < difference(source, declared) < NEAR


@pytest.mark.parametrize(("size", "scale"), [((2400, 1744), 8), ((2400, 1743), 4), ((436, 436), 2), ((435, 435), 1)])
def test_the_scale_is_the_smallest_with_twice_the_size_that_the_image_is_resized_to(
    photo: Image.Image, size: tuple[int, int], scale: int
) -> None:
    source = encoded(photo.resize(size))  # it is resized to 109 pixels
    found = image.decode_reduced(source, SQUARE)
    if scale == 1:
        assert found is None
        return
    assert found is not None
    reduced, extent = found
    assert reduced.size == tuple(-(-side // scale) for side in size)
    assert extent.size_px == size
    assert min(reduced.size) >= 2 * 109


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_are_reduced_too(photo: Image.Image, mode: str) -> None:
    assert 0 < difference(encoded(photo.convert(mode)), SQUARE) < NEAR


def test_progressive_jpegs_and_photos_of_phones_with_several_images_are_reduced_too(photo: Image.Image) -> None:
    for source in (
        encoded(photo, progressive=True),
        encoded(photo, "MPO", save_all=True, append_images=[photo.rotate(180)]),
    ):
        assert 0 < difference(source, SQUARE) < NEAR


def test_other_formats_and_small_jpegs_are_the_same_bit_for_bit(photo: Image.Image, tmp_path: Path) -> None:
    small = tmp_path / "small.jpg"
    photo.resize((200, 150)).save(small)
    part = photo.resize((800, 600))
    sources = [*(encoded(part, kind) for kind in ("PNG", "WEBP", "TIFF")), small, photo, np.asarray(photo)]
    for source in sources:
        np.testing.assert_array_equal(decoded(source, SQUARE, fast=True), decoded(source, SQUARE, fast=False))


def test_an_open_file_is_read_once(photo: Image.Image) -> None:
    for kind in ("JPEG", "PNG"):
        data = encoded(photo, kind)
        np.testing.assert_array_equal(decoded(io.BytesIO(data), SQUARE, fast=True), decoded(data, SQUARE, fast=True))


def test_a_lazily_opened_image_keeps_its_size(photo: Image.Image) -> None:
    opened = Image.open(io.BytesIO(encoded(photo)))
    assert isinstance(opened, JpegImagePlugin.JpegImageFile)
    decoded(opened, SQUARE, fast=True)
    assert opened.size == photo.size


def test_errors_are_those_of_exact_decoding(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photo)
    broken: list[Any] = [b"", data[: len(data) // 2], data[:3], data[:3] + b"no image", b"no image", io.BytesIO(b"")]
    for source in broken:
        messages = []
        for fast in (True, False):
            with pytest.raises(SampleError) as caught:
                decoded(source, SQUARE, fast=fast)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", photo.width * photo.height - 1)
    with pytest.raises(SampleError, match="decompression bomb"), pytest.warns(Image.DecompressionBombWarning):
        decoded(data, SQUARE, fast=True)


def test_a_long_strip_keeps_the_resolution_of_its_short_side(photo: Image.Image) -> None:
    assert image.decode_reduced(encoded(photo.resize((4000, 400))), SQUARE) is None
