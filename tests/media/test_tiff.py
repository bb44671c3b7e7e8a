"""Every TIFF layout gives the stored image, or is refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from itertools import product
from typing import Any

import numpy as np
import pytest
from PIL import Image

from layerzoo.errors import SampleError
from layerzoo.media.image import decode

HEIGHT, WIDTH = 37, 50
ramp = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1)) * np.linspace(0.5, 1, HEIGHT)[:, None]
GREY = ramp[..., None]
RGB = np.stack([ramp, ramp[:, ::-1], np.full_like(ramp, 0.3)], -1)


def packed(values: Any, bits: int, order: str) -> bytes:
    """Pack rows of samples as TIFF 6.0 stores them: each row begins at a byte."""
    if bits == 16:
        return values.astype(f"{order}u2").tobytes()
    digits = (values.reshape(len(values), -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def tiff(
    image: Any,
    bits: int = 8,
    photometric: int = 1,
    *,
    order: str = "<",
    is_planar: bool = False,
    compression: int = 1,
    predictor: int = 1,
    rows_per_strip: int = 10,
    tile: int | None = None,
    is_big: bool = False,
    fill_order: int = 1,
    extra: tuple[int, ...] = (),
    more: dict[int, list[int]] | None = None,
) -> bytes:
    """Write a TIFF file. image: (height, width, sample) from 0 to 1."""
    values = np.round(image * (2**bits - 1)).astype(np.uint32)
    if photometric == 0:
        values[..., 0] = 2**bits - 1 - values[..., 0]
    planes = [values[..., [i]] for i in range(values.shape[2])] if is_planar else [values]
    pieces: list[bytes] = []
    for plane in planes:
        if tile:
            padded = np.pad(plane, ((0, -HEIGHT % tile), (0, -WIDTH % tile), (0, 0)))
            blocks = [
                padded[y : y + tile, x : x + tile]
                for y in range(0, len(padded), tile)
                for x in range(0, padded.shape[1], tile)
            ]
        else:
            blocks = [plane[y : y + rows_per_strip] for y in range(0, HEIGHT, rows_per_strip)]
        for block in blocks:
            if predictor == 2:
                block = np.diff(block.astype(np.int64), axis=1, prepend=0) % 2**bits
            data = packed(block.reshape(len(block), -1).astype(np.uint32), bits, order)
            if fill_order == 2:
                data = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")).tobytes()
            pieces.append(zlib.compress(data) if compression == 8 else data)
    samples = values.shape[2]
    tags: dict[int, list[int]] = {
        256: [WIDTH], 257: [HEIGHT], 258: [bits] * samples, 259: [compression], 262: [photometric], 266: [fill_order],
        277: [samples], 284: [2 if is_planar else 1], 317: [predictor], **({338: list(extra)} if extra else {}),
        **({322: [tile], 323: [tile]} if tile else {278: [rows_per_strip]}), **(more or {}),
    }  # fmt: skip
    offsets = 324 if tile else 273
    tags[offsets + (1 if tile else 6)] = [len(piece) for piece in pieces]
    tags[offsets] = [0] * len(pieces)
    tags = dict(sorted(tags.items()))
    word, count, inline = ("Q", "Q", 8) if is_big else ("I", "H", 4)
    start = 16 if is_big else 8
    size_of = {3: 2, 4: 4}
    kinds = {tag: 4 if tag in (offsets, 279, 325) else 3 for tag in tags}
    directory = start + struct.calcsize(order + count) + (20 if is_big else 12) * len(tags) + inline
    longer = {tag: size_of[kinds[tag]] * len(v) for tag, v in tags.items() if size_of[kinds[tag]] * len(v) > inline}
    at = directory + sum(longer.values())
    positions = []
    for piece in pieces:
        positions.append(at)
        at += len(piece)
    tags[offsets] = positions
    entries, outside = b"", b""
    for tag, value in tags.items():
        raw = struct.pack(f"{order}{len(value)}{'H' if kinds[tag] == 3 else 'I'}", *value)
        if tag in longer:
            entry = struct.pack(order + word, directory + len(outside))
            outside += raw
        else:
            entry = raw.ljust(inline, b"\0")
        entries += struct.pack(f"{order}HH{word}", tag, kinds[tag], len(value)) + entry
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(f"{order}2sHHHQ", mark, 43, 8, 0, 16) if is_big else struct.pack(f"{order}2sHI", mark, 42, 8)
    return b"".join([head, struct.pack(order + count, len(tags)), entries, bytes(inline), outside, *pieces])


def worst(data: bytes, image: Any) -> float:
    """Return the largest difference from an image of 0 to 1, in levels of 255."""
    decoded = np.asarray(decode(data)).astype(float)
    expected = np.repeat(image, 3, -1) if image.shape[2] == 1 else image
    assert decoded.shape == expected.shape
    return float(np.abs(decoded - 255 * expected).max())


def levels(bits: int) -> float:
    """Return the largest rounding error of storing in so many bits, and in 8 bits after that."""
    return 0.5 * 255 / (2**bits - 1) + 1


def refusal(data: bytes) -> str:
    with pytest.raises(SampleError) as caught:
        decode(data)
    return caught.value.reason


class TestLayouts:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("photometric", [0, 1])
    @pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16])
    def test_grey(self, bits: int, photometric: int, order: str) -> None:
        assert worst(tiff(GREY, bits, photometric, order=order), GREY) <= levels(bits)

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("is_planar", [False, True])
    @pytest.mark.parametrize("bits", [4, 8, 10, 12, 16])
    def test_rgb(self, bits: int, is_planar: bool, order: str) -> None:
        assert worst(tiff(RGB, bits, 2, order=order, is_planar=is_planar), RGB) <= levels(bits)

    @pytest.mark.parametrize(("bits", "photometric", "is_planar"), list(product([8, 12, 16], [0, 1, 2], [False, True])))
    def test_compression_tiles_and_large_files(self, bits: int, photometric: int, is_planar: bool) -> None:
        image = RGB if photometric == 2 else GREY
        for compression, predictor, tile, is_big, order in product((1, 8), (1, 2), (None, 16), (False, True), "<>"):
            if predictor == 2 and (compression == 1 or bits == 12):
                continue
            data = tiff(
                image, bits, photometric, order=order, is_planar=is_planar and photometric == 2,
                compression=compression, predictor=predictor, tile=tile, is_big=is_big,
            )  # fmt: skip
            assert worst(data, image) <= levels(bits)

    @pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
    @pytest.mark.parametrize("photometric", [0, 1])
    def test_the_order_of_bits(self, bits: int, photometric: int) -> None:
        assert worst(tiff(GREY, bits, photometric, fill_order=2), GREY) <= levels(bits)

    @pytest.mark.parametrize("bits", [8, 12, 16])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation(self, bits: int, orientation: int) -> None:
        stored = {
            1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.transpose(1, 0, 2), 6: np.rot90(RGB, -1),
            7: RGB[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(RGB, 1),
        }[orientation]  # fmt: skip
        assert worst(tiff(RGB, bits, 2, is_planar=bits == 16, more={274: [orientation]}), stored) <= levels(bits)

    @pytest.mark.parametrize("bits", [8, 16])
    @pytest.mark.parametrize("is_planar", [False, True])
    @pytest.mark.parametrize("photometric", [1, 2])
    def test_alpha(self, photometric: int, is_planar: bool, bits: int) -> None:
        image = RGB if photometric == 2 else GREY
        alpha = np.tile(np.linspace(0.2, 1, HEIGHT)[:, None, None], (1, WIDTH, 1))
        seen = image * alpha + (1 - alpha)
        straight = np.concatenate([image, alpha], -1)
        associated = np.concatenate([image * alpha, alpha], -1)
        assert worst(tiff(straight, bits, photometric, is_planar=is_planar, extra=(2,)), seen) <= 4
        assert worst(tiff(associated, bits, photometric, is_planar=is_planar, extra=(1,)), seen) <= 4
        assert worst(tiff(straight, bits, photometric, is_planar=is_planar, extra=(0,)), image) <= 1

    def test_a_color_map_of_8_bit_values(self) -> None:
        indices = np.tile(np.arange(WIDTH), (HEIGHT, 1))[..., None]
        colors = np.random.default_rng(0).integers(0, 256, (3, 256))
        for scale in (1, 257):
            data = tiff(indices / 255, 8, 3, more={320: (colors * scale).reshape(-1).tolist()})
            assert worst(data, colors.T[indices[..., 0]] / 255) == 0

    def test_cielab(self) -> None:
        lab = Image.new("LAB", (4, 4), (136, 208, 195))  # L 53.2, a 80, b 67: red
        stored = np.zeros((HEIGHT, WIDTH, 3)) + np.asarray(lab)[0, 0] / 255  # as stored in a file: a and b are signed
        red = np.asarray(decode(tiff(stored, 8, 8)))[0, 0].astype(int)
        assert np.abs(red - (255, 0, 0)).max() <= 12

    @pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "zstd", "lzma"])
    @pytest.mark.parametrize("predictor", [1, 2])
    def test_compressions_of_pillow(self, compression: str, predictor: int) -> None:
        values = np.round(65_535 * (1 - ramp)).astype(np.uint16)
        file = io.BytesIO()
        Image.fromarray(values).save(file, "TIFF", compression=compression, tiffinfo={262: 0, 317: predictor})
        with Image.open(io.BytesIO(file.getvalue())) as image:
            assert image.tag_v2[262] == 0
        assert worst(file.getvalue(), GREY) <= 1


class TestRefusals:
    @pytest.mark.parametrize("bits", [8, 16])
    def test_signed_samples(self, bits: int) -> None:
        assert "signed" in refusal(tiff(GREY / 2, bits, more={339: [2]}))

    @pytest.mark.parametrize("bits", [8, 12, 16])
    @pytest.mark.parametrize("share", [0.5, 0.95])
    def test_a_truncated_file(self, bits: int, share: float) -> None:
        data = tiff(RGB, bits, 2, is_planar=True)
        assert refusal(data[: int(share * len(data))]).startswith(("truncated", "damaged"))

    def test_an_unsupported_layout_is_named(self) -> None:
        assert "3 × 16 bits, YCbCr" in refusal(tiff(RGB, 16, 6))

    def test_more_pixels_than_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", WIDTH * HEIGHT - 1)
        assert refusal(tiff(GREY, 12)).startswith("refused as a decompression bomb")

    def test_a_false_header_allocates_no_memory(self) -> None:
        data = tiff(GREY, 12, more={256: [9000], 257: [9000]})
        assert refusal(data).startswith(("truncated", "damaged"))
