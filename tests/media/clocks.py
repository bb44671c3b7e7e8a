"""Videos whose frames show their own number and time, so that a test reads from the pixels which frame was decoded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

WIDTH, HEIGHT = 128, 64
_BITS = 16


def clock(value: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray[Any, Any]:
    """Return an image of a number below 65,536: its 16 bits as white and black fields, in two rows of eight."""
    fields = np.array([value >> bit & 1 for bit in range(_BITS)], np.uint8).reshape(2, 8) * 219 + 18
    pixels = fields.repeat(height // 2, axis=0).repeat(width // 8, axis=1)
    return np.stack([pixels] * 3, axis=2)


def read(image: Image.Image) -> int:
    """Return the number that an image of :func:`clock` shows, at any size."""
    pixels = np.asarray(image.convert("L"), np.int64)
    rows = (np.array([0.25, 0.75]) * pixels.shape[0]).astype(int)
    columns = ((np.arange(8) + 0.5) / 8 * pixels.shape[1]).astype(int)
    return int(((pixels[np.ix_(rows, columns)].ravel() > 127) << np.arange(_BITS)).sum())


def video(
    stamps_ms: Sequence[int],
    format: str = "mp4",
    codec: str = "libx264",
    *,
    pixel_format: str = "yuv420p",
    gop: int = 12,
    codec_options: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    rate: int = 25,
    aspect: Fraction | None = None,
    show: Sequence[int] | None = None,
) -> bytes:
    """Write a video whose frames show the millisecond at which they come on display, or other numbers."""
    file = io.BytesIO()
    ticks = rate if format == "avi" or codec == "mpeg2video" else 1000  # these have a constant rate
    with av.open(file, "w", format=format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=codec_options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        stream.codec_context.gop_size = gop
        stream.time_base = stream.codec_context.time_base = Fraction(1, ticks)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
            stream.sample_aspect_ratio = aspect
        for stamp, number in zip(stamps_ms, show or stamps_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(clock(number), format="rgb24").reformat(format=pixel_format)
            frame.time_base = stream.codec_context.time_base
            frame.pts = stamp * ticks // 1000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
