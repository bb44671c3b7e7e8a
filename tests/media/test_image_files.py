"""Header and metadata of an image are applied; damaged metadata is ignored and the image is kept."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from layerzoo.media.image import decode

HEIGHT, WIDTH = 16, 64
RAMP = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))
RGB = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 0.3)], -1)


def worst(data: bytes, image: Any) -> float:
    """Return the largest difference from an image of 0 to 1, in levels of 255."""
    expected = image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)
    decoded = np.asarray(decode(data)).astype(float)
    assert decoded.shape == expected.shape
    return float(np.abs(decoded - 255 * expected).max())


def chunk(kind: bytes, body: bytes, *, is_damaged: bool = False) -> bytes:
    checksum = zlib.crc32(kind + body) ^ is_damaged
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(pixels: Any, color_type: int, bits: int, before: bytes = b"", after: bytes = b"") -> bytes:
    rows = pixels.astype(">u2" if bits == 16 else np.uint8).reshape(HEIGHT, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, color_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), before, chunk(b"IDAT", data), after, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


GREY_PNG = np.round(RAMP * 255).astype(np.uint8)


class TestDepths:
    @pytest.mark.parametrize("top", [255, 511, 1023, 4095, 16_383, 65_535])
    @pytest.mark.parametrize(("kind", "image"), [("P5", RAMP), ("P6", RGB), ("P2", RAMP), ("P3", RGB)])
    def test_netpbm_of_any_maximum(self, kind: str, image: Any, top: int) -> None:
        values = np.round(image * top)
        binary = values.astype(">u2" if top > 255 else np.uint8).tobytes()
        body = binary if kind in ("P5", "P6") else " ".join(map(str, values.astype(int).ravel())).encode()
        assert worst(f"{kind} {WIDTH} {HEIGHT} {top}\n".encode() + body, image) <= 1

    @pytest.mark.parametrize("pixel_format", ["gray10le", "gray12le", "gray16le", "ya16le", "rgb48le", "rgba64le"])
    def test_jpeg_2000_of_more_than_8_bits(self, pixel_format: str) -> None:
        """Pillow turns the brightest values of several channels into 0."""
        is_grey = pixel_format.startswith(("gray", "ya"))
        values = np.round((RAMP if is_grey else RGB) * 65_535).astype(np.uint16)
        frame = av.VideoFrame.from_ndarray(values, format="gray16le" if is_grey else "rgb48le")
        file = io.BytesIO()
        with av.open(file, "w", format="image2pipe") as container:
            stream = container.add_stream("jpeg2000", rate=1, options={"format": "jp2"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
            container.mux(stream.encode())
        assert worst(file.getvalue(), RAMP if is_grey else RGB) <= 2

    @pytest.mark.parametrize("bits", [8, 16])
    def test_png_with_a_transparent_color(self, bits: int) -> None:
        values = np.round(RGB * (2**bits - 1)).astype(int)
        transparent = chunk(b"tRNS", struct.pack(">HHH", *values[0, 5]))
        shown = np.where((values == values[0, 5]).all(-1)[..., None], 1, RGB)
        assert worst(png(values, 2, bits, transparent), shown) <= 1

    @pytest.mark.parametrize("bits", [1, 2, 4])
    def test_png_with_a_transparent_grey_of_few_bits(self, bits: int) -> None:
        values = np.round(RAMP * (2**bits - 1)).astype(np.uint8)
        packed = np.packbits(np.unpackbits(values[..., None], axis=-1)[..., 8 - bits :].reshape(HEIGHT, -1), axis=-1)
        shown = np.where(values == 1, 1, values / (2**bits - 1))
        assert worst(png(packed, 0, bits, chunk(b"tRNS", struct.pack(">H", 1))), shown) <= 1

    @pytest.mark.parametrize("bits", [8, 16])
    @pytest.mark.parametrize(("color_type", "image"), [(4, RAMP[..., None]), (6, RGB)])
    def test_png_with_an_alpha_channel(self, color_type: int, image: Any, bits: int) -> None:
        alpha = np.tile(np.linspace(0, 1, HEIGHT)[:, None, None], (1, WIDTH, 1))
        values = np.round(np.concatenate([image, alpha], -1) * (2**bits - 1))
        shown = image * alpha + 1 - alpha
        assert worst(png(values, color_type, bits), np.broadcast_to(shown, (HEIGHT, WIDTH, 3))) <= 2


BROKEN_EXIF = [
    b"",
    b"II*\0",
    b"\0\x08\0\x02\x01\x12\0\x03\0\0",
    b"Exif\0\0junk",
    b"II*\0\xff\xff\xff\xff",
    b"MM\0*\0\0\0\x08\xff\xff",
    b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\0\0\0\x06\0\0\0",  # the orientation is a text beyond the end
    b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0" + bytes(4),  # the orientation is 99
]
TURNED = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)


class TestMetadata:
    @pytest.mark.parametrize("exif", BROKEN_EXIF)
    @pytest.mark.parametrize("where", ["before", "after"])
    def test_broken_exif_in_png(self, exif: bytes, where: str) -> None:
        assert worst(png(GREY_PNG, 0, 8, **{where: chunk(b"eXIf", exif)}), RAMP) <= 1

    @pytest.mark.parametrize("exif", BROKEN_EXIF)
    @pytest.mark.parametrize(("format", "options"), [("JPEG", {"quality": 100}), ("WEBP", {"lossless": True})])
    def test_broken_exif_in_jpeg_and_webp(self, format: str, options: dict[str, Any], exif: bytes) -> None:
        file = io.BytesIO()
        Image.fromarray(GREY_PNG).save(file, format, exif=b"Exif\0\0" + exif, **options)
        assert worst(file.getvalue(), RAMP) <= 2

    @pytest.mark.parametrize("kind", [b"eXIf", b"tEXt", b"iCCP", b"gAMA", b"zTXt"])
    @pytest.mark.parametrize("where", ["before", "after"])
    def test_a_wrong_checksum_of_metadata_in_png(self, kind: bytes, where: str) -> None:
        damaged = chunk(kind, BROKEN_EXIF[2], is_damaged=True)
        assert worst(png(GREY_PNG, 0, 8, **{where: damaged}), RAMP) <= 1

    def test_an_intact_orientation_is_applied(self) -> None:
        assert decode(png(GREY_PNG, 0, 8, chunk(b"eXIf", TURNED))).size == (HEIGHT, WIDTH)
