"""Read the TIFF layouts that Pillow refuses, or misreads silently.

Pillow (13.0) scales 12 bits as if they were 16, ignores that white is zero in 16 bits, and reads uncompressed planes
of 16 bits as 8. Here libtiff, through Pillow, decompresses such a file as rows of bytes, and the samples are read from
those.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from layerzoo.media.orientation import EXIF_ORIENTATION, upright
from layerzoo.media.sample import UnusableError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 256, 257, 258, 259, 262, 277
FILL_ORDER, ROWS_PER_STRIP, PLANAR, PREDICTOR, COLOR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT = (
    266,
    278,
    284,
    317,
    320,
    338,
    339,
)
STRIP_OFFSETS, STRIP_COUNTS, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 273, 279, 322, 323, 324, 325

_LOSSLESS = {1: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "zstd"}
_PREDICTED = set(_LOSSLESS) - {1, 32773}  # the others ignore the predictor, as libtiff does
_COLORS = {0: 1, 1: 1, 2: 3}
_NAMES = {0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab"}
_MOST_EXTRA_SAMPLES = 3  # as many as Pillow reads
_SIGNED, _FLOAT = 2, 3
_ASSOCIATED, _UNASSOCIATED = 1, 2
_ROWS_AT_ONCE = 256


class Layout:
    """How the first image of a TIFF file is stored, by its tags (TIFF 6.0)."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises: the exceptions of Pillow for damaged tags."""
        file.seek(0)
        head = file.read(16)
        is_motorola = head[:2] == b"MM"
        is_big = head[2:4] in (b"+\0", b"\0+")
        if head[2:4] == b"\0+":  # Pillow knows the mark of a BigTIFF in one order of bytes only
            head = b"II+\0" + head[4:]
        prefix = b"MM" if is_motorola else b"II"
        self.tags = TiffImagePlugin.ImageFileDirectory_v2(head if is_big else head[:8], prefix)
        file.seek(self.tags.next)
        self.tags.load(file)
        self.width, self.height = int(self.tags[WIDTH]), int(self.tags[HEIGHT])
        self.photometric = int(self.tags.get(PHOTOMETRIC, 0))
        self.samples = int(self.tags.get(SAMPLES, 1))
        self.bits = _same(self.tags.get(BITS, (1,)))
        self.sample_format = _same(self.tags.get(SAMPLE_FORMAT, (1,)))
        self.compression = int(self.tags.get(COMPRESSION, 1))
        self.is_planar = self.tags.get(PLANAR, 1) == 2 and self.samples > 1
        self.extra: tuple[int, ...] = tuple(self.tags.get(EXTRA_SAMPLES, ()))

    def __str__(self) -> str:
        kind = {_SIGNED: "signed ", _FLOAT: "floating-point "}.get(self.sample_format or 1, "")
        name = _NAMES.get(self.photometric, f"photometric interpretation {self.photometric}")
        planes = ", in planes" if self.is_planar else ""
        return f"{self.samples} × {self.bits or 'mixed'} {kind}bits, {name}{planes}, compression {self.compression}"

    @property
    def is_misread_by_pillow(self) -> bool:
        """Whether Pillow opens such a file, and gives other values than it holds or a mode that it cannot convert."""
        if self.sample_format != 1 or self.bits is None or not self.is_readable:
            return False
        is_deep = 8 < self.bits < 16 or (self.bits == 16 and (self.photometric == 0 or self.is_planar))
        return is_deep or (self.photometric == 1 and self.extra[:1] == (_ASSOCIATED,))

    @property
    def is_readable(self) -> bool:
        """Whether :func:`read` can read it."""
        return (
            self.sample_format == 1
            and self.bits is not None
            and self.bits <= 16
            and self.photometric in _COLORS
            and 0 <= self.samples - _COLORS[self.photometric] <= _MOST_EXTRA_SAMPLES
            and self.compression in _LOSSLESS
            and (self.tags.get(PREDICTOR, 1) == 1 or (self.tags.get(PREDICTOR) == 2 and self.bits in (8, 16)))
        )


def _same(values: Any) -> int | None:
    """Return the value that all samples share, or None."""
    distinct = set(values) if isinstance(values, tuple) else {values}
    return int(distinct.pop()) if len(distinct) == 1 else None


def layout_of(file: BinaryIO) -> Layout | None:
    """Return the layout of a TIFF file; None where its tags cannot be read."""
    position = file.tell()
    try:
        return Layout(file)
    except Exception:  # noqa: BLE001 - Pillow raises whatever broken bytes lead it to
        return None
    finally:
        file.seek(position)


def refuse_signed(layout: Layout) -> None:
    """Raises: UnusableError for signed samples: no convention defines the value of black."""
    if layout.sample_format == _SIGNED:
        raise UnusableError(
            f"a TIFF of {layout}: convert it to 8 or 16 unsigned bits, so that the value of white is known"
        )


def fix_palette(image: Image.Image, layout: Layout) -> None:
    """Repair a color map of 8-bit values in its 16 bits, which old programs write and libtiff accepts."""
    values = layout.tags.get(COLOR_MAP, ())
    if image.mode == "P" and values and max(values) < 256:
        image.putpalette(bytes(np.array(values, np.uint8).reshape(3, -1).T.tobytes()))


def read(file: BinaryIO, layout: Layout) -> Image.Image:
    """Decode the first image, upright, in 8 bits: mode L, LA, RGB or RGBA.

    Raises: UnusableError; the exceptions of Pillow for damaged data.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and layout.width * layout.height > limit:
        raise UnusableError(
            f"refused as a decompression bomb: {layout.width} × {layout.height} pixels; the limit is {limit} "
            "(PIL.Image.MAX_IMAGE_PIXELS)"
        )
    assert layout.bits is not None
    if layout.is_planar:
        planes = [_plane(file, layout, plane) for plane in range(layout.samples)]
        values = np.concatenate(planes, axis=2)
    else:
        values = _plane(file, layout, 0)
    top = 2**layout.bits - 1
    colors = _COLORS[layout.photometric]
    extra = layout.extra or ((_UNASSOCIATED,) if layout.samples == colors + 1 and colors == 3 else ())
    channels = colors + (1 if extra and extra[0] in (_ASSOCIATED, _UNASSOCIATED) and values.shape[2] > colors else 0)
    pixels = ((values[..., :channels].astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
    if layout.photometric == 0:
        pixels[..., 0] = 255 - pixels[..., 0]
    if channels > colors and extra[0] == _ASSOCIATED:
        alpha = np.maximum(pixels[..., -1:], 1).astype(np.uint32)
        divided = (pixels[..., :-1].astype(np.uint32) * 255 + alpha // 2) // alpha
        pixels[..., :-1] = np.minimum(divided, 255)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    # Not Image.fromarray(…, mode): the argument is deprecated, and two channels are guessed as LA anyway.
    image = Image.frombytes(mode, (layout.width, layout.height), np.ascontiguousarray(pixels).tobytes())
    return upright(image, layout.tags.get(EXIF_ORIENTATION, 1))


def _plane(file: BinaryIO, layout: Layout, plane: int) -> NDArray[Any]:
    """Return the samples of a plane, or of all where they are interleaved: (height, width, sample)."""
    assert layout.bits is not None
    samples = 1 if layout.is_planar else layout.samples
    rows = _rows(file, layout, plane, samples)
    count = layout.width * samples
    values = np.empty((layout.height, count), np.uint16)
    for start in range(0, layout.height, _ROWS_AT_ONCE):
        values[start : start + _ROWS_AT_ONCE] = _unpacked(
            rows[start : start + _ROWS_AT_ONCE], count, layout.bits, is_little=layout.tags.prefix == b"II"
        )
    if layout.tags.get(PREDICTOR, 1) == 2 and layout.compression in _PREDICTED:
        modulus = 2**layout.bits - 1
        for start, stop in _predicted_columns(layout):
            block = values[:, start * samples : stop * samples].reshape(layout.height, -1, samples)
            block = np.cumsum(block, axis=1, dtype=np.uint64) & modulus
            values[:, start * samples : stop * samples] = block.reshape(layout.height, -1)
    return values.reshape(layout.height, layout.width, samples)


def _predicted_columns(layout: Layout) -> Iterator[tuple[int, int]]:
    """Differences are taken within a row of a strip, or of a tile."""
    step = int(layout.tags.get(TILE_WIDTH, layout.width))
    for start in range(0, layout.width, step):
        yield start, min(layout.width, start + step)


def _unpacked(rows: NDArray[np.uint8], count: int, bits: int, *, is_little: bool) -> NDArray[Any]:
    if bits == 8:
        return rows[:, :count]
    if bits == 16:
        order = "<u2" if is_little else ">u2"
        return np.ascontiguousarray(rows[:, : 2 * count]).view(order)
    single = np.unpackbits(rows, axis=1)[:, : count * bits].reshape(len(rows), count, bits)
    return single @ (1 << np.arange(bits - 1, -1, -1, dtype=np.uint16))


def _rows(file: BinaryIO, layout: Layout, plane: int, samples: int) -> NDArray[np.uint8]:
    """Return the decompressed bytes of each row: the strips or tiles, read as an image of one byte a pixel."""
    bits, stored_tags = layout.bits, layout.tags
    assert bits is not None

    def in_bytes(pixels: int) -> int:
        return math.ceil(pixels * samples * bits / 8)

    is_tiled = TILE_OFFSETS in stored_tags
    pieces = list(_pieces(file, layout, plane, is_tiled))
    tags = {
        WIDTH: [in_bytes(layout.width)],
        HEIGHT: [layout.height],
        BITS: [8],
        COMPRESSION: [layout.compression],
        PHOTOMETRIC: [1],
        FILL_ORDER: [int(stored_tags.get(FILL_ORDER, 1))],
        SAMPLES: [1],
        TILE_COUNTS if is_tiled else STRIP_COUNTS: [len(piece) for piece in pieces],
    }
    if is_tiled:
        tags |= {TILE_WIDTH: [in_bytes(int(stored_tags[TILE_WIDTH]))], TILE_HEIGHT: [int(stored_tags[TILE_HEIGHT])]}
    else:
        tags[ROWS_PER_STRIP] = [min(layout.height, int(stored_tags.get(ROWS_PER_STRIP, layout.height)))]
    order = "<" if stored_tags.prefix == b"II" else ">"
    data = _tiff(tags, TILE_OFFSETS if is_tiled else STRIP_OFFSETS, pieces, order)
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        return np.asarray(image)


def _pieces(file: BinaryIO, layout: Layout, plane: int, is_tiled: bool) -> Iterator[bytes]:
    """Yield the strips or tiles of a plane, as they are stored."""
    offsets, counts = (TILE_OFFSETS, TILE_COUNTS) if is_tiled else (STRIP_OFFSETS, STRIP_COUNTS)
    starts = _all(layout.tags[offsets])
    # Old programs omit the counts of a single strip.
    lengths = _all(layout.tags[counts]) if counts in layout.tags else [file.seek(0, os.SEEK_END) - starts[0]]
    per_plane = len(starts) // (layout.samples if layout.is_planar else 1)
    if per_plane < (required := _pieces_of_a_plane(layout, is_tiled)):
        raise UnusableError(f"truncated or damaged: {per_plane} of {required} strips or tiles")
    for start, length in list(zip(starts, lengths, strict=False))[plane * per_plane : (plane + 1) * per_plane]:
        file.seek(start)
        piece = file.read(length)
        if len(piece) < length:
            raise UnusableError(f"truncated: {length - len(piece)} bytes are missing at the end")
        yield piece


def _pieces_of_a_plane(layout: Layout, is_tiled: bool) -> int:
    if not is_tiled:
        return math.ceil(layout.height / max(1, int(layout.tags.get(ROWS_PER_STRIP, layout.height))))
    across = math.ceil(layout.width / max(1, int(layout.tags[TILE_WIDTH])))
    return across * math.ceil(layout.height / max(1, int(layout.tags[TILE_HEIGHT])))


def _all(values: Any) -> list[int]:
    return [int(value) for value in values] if isinstance(values, tuple) else [int(values)]


def _tiff(tags: dict[int, list[int]], offsets: int, pieces: list[bytes], order: str) -> bytes:
    """Return a TIFF file of one image (TIFF 6.0, section 2). offsets: the tag for where the pieces are."""
    tags = dict(sorted({**tags, offsets: [0] * len(pieces)}.items()))
    directory = 8 + 2 + 12 * len(tags) + 4
    pixels = directory + sum(4 * len(values) for values in tags.values() if len(values) > 1)
    tags[offsets] = [pixels + start for start in accumulate([0, *map(len, pieces[:-1])])]
    entries, more = b"", b""
    for tag, values in tags.items():
        value = values[0] if len(values) == 1 else directory + len(more)
        entries += struct.pack(f"{order}HHII", tag, 4, len(values), value)
        if len(values) > 1:
            more += struct.pack(f"{order}{len(values)}I", *values)
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    return b"".join([head, entries, bytes(4), more, *pieces])
