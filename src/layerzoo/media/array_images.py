"""Arrays of images whose axes and values the caller declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import InputError, SampleError
from layerzoo.media import dataset
from layerzoo.media.sample import UnusableError

ImageLayout = Literal["NHWC", "NCHW"]
"""The axes of an array of images: batch, height, width and channel. A single image has all but the batch."""
_CHANNELS = (1, 3, 4)


def check_declaration(layout: str | None, value_range: Any) -> tuple[float, float] | None:
    """Return the range of values as two numbers. Raises: InputError for an unknown layout, or no range."""
    if layout is not None and layout not in get_args(ImageLayout):
        raise InputError(f"layout={layout!r} is unknown. Possible: {', '.join(get_args(ImageLayout))}")
    if value_range is None:
        return None
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = 0.0
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"value_range={value_range!r} is not (black, white), as in (0, 1) or (-1, 1)")
    return low, high


def images(value: Any, layout: ImageLayout | None, value_range: tuple[float, float] | None) -> Iterator[Any]:
    """Yield the images of an array as (height, width, channel) of uint8 or uint16; without a declaration, the value.

    Args:
        value: an array or a torch.Tensor of one image or of several.
        layout: its axes. None: an array is one image (height, width, channel), and a tensor is preprocessed already.
        value_range: the values of black and white. None: those of uint8 or uint16. Other values are rounded to 8 bits.
    Raises: InputError for values without a declared range.
    Yields: an UnusableError for what a declaration does not apply to, such as a path.
    """
    is_array = isinstance(value, np.ndarray) or (layout is not None and dataset.is_tensor(value))
    if (layout is None and value_range is None) or isinstance(value, SampleError | UnusableError):
        yield value
        return
    if not is_array:
        kind = "a tensor that is preprocessed" if dataset.is_tensor(value) else type(value).__name__
        yield UnusableError(
            f"layout= and value_range= declare an array of images, or a tensor with layout=, and this is {kind}"
        )
        return
    array = value if isinstance(value, np.ndarray) else dataset.to_numpy(value)
    if value_range is None and array.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"images of {array.dtype} have no known value of white. Declare the values of black and white, as in "
            "value_range=(0, 1)"
        )
    for image in array if array.ndim == 4 else [array]:
        yield _image(image, layout, value_range)


def _image(image: NDArray[Any], layout: ImageLayout | None, value_range: tuple[float, float] | None) -> Any:
    """Return (height, width, channel); an UnusableError where the shape or a value contradicts the declaration."""
    if layout is not None and (image.ndim != 3 or image.shape[0 if layout == "NCHW" else 2] not in _CHANNELS):
        axes = ", ".join({"N": "batch", "H": "height", "W": "width", "C": "channel"}[axis] for axis in layout)
        return UnusableError(
            f"an image of shape {image.shape}, and layout='{layout}' is ({axes}) with 1, 3 or 4 channels"
        )
    ordered = image.transpose(1, 2, 0) if layout == "NCHW" else image
    return ordered if value_range is None else _to_uint8(ordered, *value_range)


def _to_uint8(image: NDArray[Any], black: float, white: float) -> Any:
    values = image.astype(np.float64)
    if not np.isfinite(values).all():
        return UnusableError("holds values that are not finite (infinite or not a number)")
    low, high = float(values.min(initial=black)), float(values.max(initial=black))
    if low < black or high > white:
        return UnusableError(f"values from {low:g} to {high:g}, and value_range=({black:g}, {white:g}) is declared")
    return np.rint((values - black) * (255 / (white - black))).astype(np.uint8)
