"""Turn an image upright: cameras store it in one of eight orientations."""

from __future__ import annotations

from typing import Any

from PIL.Image import Image, Transpose

EXIF_ORIENTATION = 0x0112

# The operation that undoes each stored orientation. Source: EXIF 2.32, tag Orientation.
_BY_EXIF = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_TURNED_LEFT_TO_RIGHT = (Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.ROTATE_90, Transpose.TRANSVERSE)
"""The methods that exchange the left and the right side, before any exchange of width and height."""
_TURNED_TOP_TO_BOTTOM = (Transpose.FLIP_TOP_BOTTOM, Transpose.ROTATE_180, Transpose.ROTATE_270, Transpose.TRANSVERSE)
_TURNED_BY_A_QUARTER = (Transpose.TRANSPOSE, Transpose.ROTATE_90, Transpose.ROTATE_270, Transpose.TRANSVERSE)
"""The methods that exchange width and height."""
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
    """Return the image turned according to its EXIF orientation; unchanged without one, or where its EXIF is
    damaged."""
    return upright(image, exif_orientation(image))


def upright(image: Image, orientation: Any) -> Image:
    """Return the image turned according to an EXIF or TIFF orientation; unchanged where that is none of 2 to 8."""
    return _transposed(image, _BY_EXIF.get(orientation) if isinstance(orientation, int) else None)


def upright_box(
    box: tuple[float, float, float, float], size_px: tuple[int, int], orientation: Any
) -> tuple[float, float, float, float]:
    """Return a rectangle (left, top, right, bottom) of a stored image in coordinates of the upright image.

    Args:
        box: in pixels of the stored image.
        size_px: width and height of the stored image.
        orientation: the value of the EXIF tag.
    """
    method = _BY_EXIF.get(orientation) if isinstance(orientation, int) else None
    left, top, right, bottom = box
    if method in _TURNED_LEFT_TO_RIGHT:
        left, right = size_px[0] - right, size_px[0] - left
    if method in _TURNED_TOP_TO_BOTTOM:
        top, bottom = size_px[1] - bottom, size_px[1] - top
    return (top, left, bottom, right) if method in _TURNED_BY_A_QUARTER else (left, top, right, bottom)


def exif_orientation(image: Image) -> Any:
    """Return the EXIF orientation of an image; 1 without one, or where its EXIF is damaged."""
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - Pillow raises whatever broken bytes lead it to
        return 1


def swaps_sides(orientation: Any) -> bool:
    """Return whether the upright image has the width of the stored one as its height."""
    return isinstance(orientation, int) and _BY_EXIF.get(orientation) in _TURNED_BY_A_QUARTER


def upright_by_matrix(image: Image, a: int, b: int, c: int, d: int) -> Image:
    """Return the image turned according to a video's display matrix; unchanged where that is not a quarter turn or a
    flip."""
    signs = tuple((value > 0) - (value < 0) for value in (a, b, c, d))
    return _transposed(image, _BY_MATRIX.get(signs))


def _transposed(image: Image, method: Transpose | None) -> Image:
    return image if method is None else image.transpose(method)
