"""Digests of the content of samples, so that equal samples are recognised."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from layerzoo.media import dataset


def sample_digest(source: Any) -> bytes | None:
    """Return the sha256 of the content of a sample, with its type; None for one that can be read only once, or not at
    all.

    Args:
        source: of a :class:`layerzoo.media.sample.Sample`. A file is read; its name does not matter.
    """
    try:
        return _digest(source)
    except Exception:  # noqa: BLE001 - Pillow raises many kinds for a damaged image; the decoder will report it
        return None


def _digest(source: Any) -> bytes | None:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    digest = hashlib.sha256()
    if isinstance(source, str):
        digest.update(b"text\0" + source.encode("utf-8", "surrogatepass"))
    elif isinstance(source, bytes | bytearray | memoryview):
        digest.update(b"bytes\0")
        digest.update(source)
    elif isinstance(source, tuple) and len(source) == 2:  # audio
        digest.update(f"audio {source[1]}\0".encode() + _array(source[0]))
    elif isinstance(source, np.ndarray):
        digest.update(b"array\0" + _array(source))
    elif dataset.is_tensor(source):
        digest.update(b"tensor\0" + _array(dataset.to_numpy(source)))
    elif (image := sys.modules.get("PIL.Image")) is not None and isinstance(source, image.Image):
        facts = (source.mode, source.size, source.getpalette(), source.info.get("transparency"))
        digest.update(f"image {facts}\0".encode() + source.getexif().tobytes() + source.tobytes())
    else:
        return None
    return digest.digest()


def _array(array: Any) -> bytes:
    """Return the type, shape and values of an array."""
    values = np.ascontiguousarray(array)
    if values.dtype.hasobject:
        raise TypeError("the bytes of an array of objects are addresses")
    return f"{values.dtype.str} {values.shape}\0".encode() + values.tobytes()
