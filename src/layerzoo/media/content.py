"""Digests of the content of samples, so that equal samples are recognised."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from layerzoo.media import dataset
from layerzoo.media.audio_input import Audio


def sample_digest(source: Any) -> bytes | None:
    """Return the sha256 of the content of a sample, with its type; None for one that can be read only once.

    Args:
        source: of a :class:`layerzoo.media.sample.Sample`. A file is read; its name does not matter.
    Raises: OSError for a file that cannot be read.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    digest = hashlib.sha256()
    if isinstance(source, str):
        digest.update(b"text\0" + source.encode("utf-8", "surrogatepass"))
    elif isinstance(source, bytes | bytearray | memoryview):
        digest.update(b"bytes\0" + bytes(source))
    elif isinstance(source, Audio | tuple) and len(source) == 2:
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
    return f"{values.dtype.str} {values.shape}\0".encode() + values.tobytes()
