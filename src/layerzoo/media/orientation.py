"""Turn an image upright: cameras store it in one of eight orientations."""

from __future__ import annotations

from typing import Any

from PIL.Image import Image, Transpose

EXIF_ORIENTATION = 0x0112

# What undoes each stored orientation. Source: EXIF 2.32, tag Orientation.
_BY_EXIF = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
# By the signs of (a, b, c, d) of a display matrix: a pixel at (x, y) is shown at (ax + cy, bx + dy), y downwards.
_BY_MATRIX: dict[tuple[int, ...], Transpose] = {
    (-1, 0, 0, 1): Transpose.FLIP_LEFT_RIGHT,
    (-1, 0, 0, -1): Transpose.ROTATE_180,
    (1, 0, 0, -1): Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Transpose.TRANSPOSE,
    (0, 1, -1, 0): Transpose.ROTATE_270,
    (0, -1, -1, 0): Transpose.TRANSVERSE,
    (0, -1, 1, 0): Transpose.ROTATE_90,
}


def upright_by_exif(image: Image) -> Image:
    """Return the image turned as its EXIF orientation says; unchanged without one, or where its EXIF is damaged."""
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - Pillow raises whatever broken bytes lead it to
        return image
    return upright(image, orientation)


def upright(image: Image, orientation: Any) -> Image:
    """Return the image turned as an EXIF or TIFF orientation says; unchanged where that is none of 2 to 8."""
    return _transposed(image, _BY_EXIF.get(orientation) if isinstance(orientation, int) else None)


def upright_by_matrix(image: Image, a: int, b: int, c: int, d: int) -> Image:
    """Return the image as a video's display matrix says; unchanged where that is not a quarter turn or a flip."""
    signs = tuple((value > 0) - (value < 0) for value in (a, b, c, d))
    return _transposed(image, _BY_MATRIX.get(signs))


def _transposed(image: Image, method: Transpose | None) -> Image:
    return image if method is None else image.transpose(method)
