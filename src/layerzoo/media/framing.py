"""Messages between a process and its decode process: a header of JSON, and the bytes that it announces.

Nothing is pickled: a decode process that a file has taken over can send wrong pixels, and run no code elsewhere.
"""

from __future__ import annotations

import json
import math
import os
import select
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_HEAD = struct.Struct(">I")
_MAX_HEADER_BYTES = 64 << 20
_BAND_BYTES = 4 << 20

Message = tuple[Mapping[str, Any], bytearray]


class DisconnectedError(Exception):
    """The other process ended, or sent invalid data."""


class StalledError(Exception):
    """Nothing was sent in the time that was given."""


def send(pipe: int, header: Mapping[str, Any], *payload: Any) -> None:
    """Write a message. payload: buffers, whose lengths are added to the header. Raises: OSError."""
    views = [memoryview(part).cast("B") for part in payload if len(memoryview(part).cast("B"))]
    head = json.dumps({**header, "bytes": sum(len(view) for view in views)}).encode()
    for view in (memoryview(_HEAD.pack(len(head)) + head), *views):
        _write(pipe, view)


def _write(pipe: int, view: memoryview) -> None:
    while len(view):
        view = view[os.write(pipe, view) :]


def receive(pipe: int, *, seconds: float | None = None, most_bytes: int = 1 << 40) -> Message:
    """Read a message.

    Args:
        seconds: the longest time to wait for each piece of it. None: for ever.
        most_bytes: of its payload.
    Raises: DisconnectedError, StalledError.
    """
    (length,) = _HEAD.unpack(_read(pipe, _HEAD.size, seconds))
    if length > _MAX_HEADER_BYTES:
        raise DisconnectedError("a header that is too long")
    try:
        header = json.loads(bytes(_read(pipe, length, seconds)))
        size = int(header["bytes"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DisconnectedError("a header that is not readable") from error
    if not 0 <= size <= most_bytes:
        raise DisconnectedError(f"{size} bytes, more than the limit")
    return header, _read(pipe, size, seconds)


def _read(pipe: int, count: int, seconds: float | None) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN | select.POLLHUP)
    while len(view):
        if seconds is not None and not waiting.poll(max(1, round(1000 * seconds))):
            raise StalledError
        try:
            received = os.readv(pipe, [view])
        except OSError as error:
            raise DisconnectedError(str(error)) from error
        if not received:
            raise DisconnectedError("the end of the pipe")
        view = view[received:]
    return data


def send_part(pipe: int, facts: Mapping[str, Any], data: Any) -> None:
    """Write a part of a decoded sample: an array, bytes, or an RGB ``PIL.Image``, which goes in bands of rows so that
    there is no second copy of it. Raises: OSError."""
    if data is None:
        send(pipe, {"part": facts})
    elif isinstance(data, bytes):
        send(pipe, {"part": facts, "is": "bytes"}, data)
    elif isinstance(data, np.ndarray):
        array = np.ascontiguousarray(data)
        send(pipe, {"part": facts, "is": "array", "dtype": array.dtype.str, "shape": array.shape}, array)
    else:
        width, height = data.size
        rows = max(1, _BAND_BYTES // (3 * width))
        send(pipe, {"part": facts, "is": "image", "size": [width, height], "rows": rows})
        for top in range(0, height, rows):
            send(pipe, {}, data.crop((0, top, width, min(height, top + rows))).tobytes())


def received_data(message: Message, following: Any) -> Any:
    """Return the data of a part.

    Args:
        message: the first of the part.
        following: a function that returns the payload of the next message.
    Raises: DisconnectedError where it makes no sense.
    """
    header, payload = message
    kind = header.get("is")
    try:
        if kind == "array":
            return _array(payload, header["dtype"], header["shape"])
        if kind == "image":
            return _image(header["size"], header["rows"], following)
    except (ValueError, KeyError, TypeError) as error:
        raise DisconnectedError(f"a part that makes no sense: {error}") from error
    return bytes(payload) if kind == "bytes" else None


def _array(payload: bytearray, dtype: str, shape: Sequence[int]) -> Any:
    kind = np.dtype(dtype)
    if kind.hasobject or math.prod(shape) * kind.itemsize != len(payload):
        raise ValueError("an array of another size")
    return np.frombuffer(payload, kind).reshape(shape)


def _image(size: Sequence[int], rows: int, following: Any) -> Any:
    from PIL import Image

    width, height = size
    image = None if rows >= height else Image.new("RGB", (width, height))
    for top in range(0, height, rows):
        band = Image.frombytes("RGB", (width, min(rows, height - top)), bytes(following()))
        if image is None:
            return band
        image.paste(band, (0, top))
    return image
