"""The limits of decoding: the memory and time of one sample, and the sizes that are refused before decoding.

docs/reproducibility-and-safety.md lists them. All of them together keep the memory of a run within 1.5 GB above that of
the loaded network, for all files. The memory of the network's forward pass is added to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from layerzoo.errors import UsageError

__all__ = ["ENVIRONMENT", "Limits", "limits"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The memory and time that one sample may take. The command line and programs set some of them by the variables of
    ENVIRONMENT."""

    memory_bytes: int = 1024 * _MIB
    """The memory that decoding one sample may allocate. A 24-bit image of PIL.Image.MAX_IMAGE_PIXELS (89 megapixels)
    takes 341 MiB in Pillow, and 341 more while it is turned or composited over white."""
    processes: int = min(4, os.cpu_count() or 1)
    """At most so many processes decode. 0: samples are decoded in the process that computes, where nothing but the
    limits below bounds their memory, and a decoder that crashes ends the run."""
    stalled_s: float = 120.0
    """How long a decoder may go without decoding anything further."""
    seconds: float = 1800.0
    """How long the decoding of one sample may take altogether."""
    frame_pixels: int = 36_000_000
    """Of one frame of a video: 8K (8192 × 4320) is 35.4 million. A decoder keeps up to 16 frames for reference."""
    processor_pixels: int = 64_000_000
    """Of an image that a library's processor receives at full size. It takes up to 19 bytes a pixel."""
    clip_bytes: int = 256 * _MIB
    """The frames of a clip that a library's processor receives at once."""
    kept_samples: int = 1 << 24
    """Samples of audio in the file's own rate that are kept while it is decoded, 64 MiB. Longer audio is decoded twice:
    once to see that all of it can be, and once in windows."""
    whole_samples: int = 1 << 26
    """Of audio for a network without windows, which takes a recording in one piece: 70 minutes at 16 kHz, 256 MiB. With
    windows there is no limit."""
    audio_s: float | None = None
    """Seconds of audio for a network without windows, instead of ``whole_samples``."""
    handed_over_bytes: int = 256 * _MIB
    """Of an encoded sample that is not a file but bytes, or an open file, which is read into memory."""
    text_characters: int = 1 << 24
    """Of one text. Its tokens are Python integers, about 100 bytes each."""
    unbroken_characters: int = 1_000_000
    """Of a text without spaces and punctuation, which its tokenizer takes in one piece: up to 600 bytes a character."""
    row_bytes: int = 32 * _MIB
    """Of one row of a CSV file."""
    failed_rows: int = 100_000
    """Rows of one table that cannot be used. After so many the rest is not read: a file of a few hundred bytes can hold
    billions of empty rows."""
    prepared_bytes: int = 128 * _MIB
    """The preprocessed inputs that wait for the network."""
    batch_bytes: int = 128 * _MIB
    """The inputs of one batch, where no batch size is requested."""

    @property
    def first_try_bytes(self) -> int:
        """The memory that each of several processes may allocate at the same time. A sample that fails with it is
        decoded again, alone, with ``memory_bytes``."""
        return min(256 * _MIB, self.memory_bytes // max(1, self.processes))


ENVIRONMENT: Mapping[str, tuple[str, str]] = {
    "LAYERZOO_DECODE_MEMORY_MB": ("memory_bytes", "megabytes (MiB) that decoding one sample may allocate"),
    "LAYERZOO_DECODE_PROCESSES": ("processes", "processes that decode; 0: decode in this process"),
    "LAYERZOO_DECODE_SECONDS": ("seconds", "seconds that decoding one sample may take"),
    "LAYERZOO_PROCESSOR_PIXELS": ("processor_pixels", "pixels of an image that a library's processor receives"),
    "LAYERZOO_AUDIO_SECONDS": ("audio_s", "seconds of audio for a network that takes a recording in one piece"),
}
"""The variables of the environment that change a limit: (attribute of Limits, meaning of the value)."""


def limits() -> Limits:
    """Return the limits, with those that the environment sets. Raises: UsageError for a variable that is not such a
    number."""
    if _received is not None:
        return _received
    changed = _changed(*map(os.environ.get, ENVIRONMENT))
    return replace(_DEFAULT, **changed) if changed else _DEFAULT


@lru_cache(maxsize=16)
def _changed(*values: str | None) -> Mapping[str, Any]:
    """Return the limits that the values of the variables of ENVIRONMENT change. Limits are read for each sample."""
    changed: dict[str, Any] = {}
    for (variable, (name, meaning)), value in zip(ENVIRONMENT.items(), values, strict=True):
        if value:
            changed[name] = _READ[name](_number(variable, value, meaning))
    if "seconds" in changed:
        changed["stalled_s"] = min(_DEFAULT.stalled_s, changed["seconds"])
    return changed


def use(received: Limits) -> None:
    """Use these limits from now on, instead of those of the environment. In a decode process only."""
    global _received
    _received = received


def variable_of(name: str) -> str:
    """Return the variable of the environment that changes a limit.

    Args:
        name: the name of a field of :class:`Limits`.
    """
    return next(variable for variable, (attribute, _) in ENVIRONMENT.items() if attribute == name)


def is_set(name: str) -> bool:
    """Return whether the environment sets a limit. name: a field of :class:`Limits` in ENVIRONMENT."""
    return bool(os.environ.get(variable_of(name)))


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_unused() -> None:
    """Return memory that was freed to the system: glibc keeps blocks of up to 32 MiB, in an arena for each thread."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _number(variable: str, text: str, meaning: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not (math.isfinite(number) and (number > 0 or (variable == "LAYERZOO_DECODE_PROCESSES" and number == 0))):
        raise UsageError(f"{variable}={text!r} is not a number of {meaning}")
    return number


_READ: Mapping[str, Callable[[float], Any]] = {
    "memory_bytes": lambda megabytes: int(megabytes * _MIB),
    "processes": lambda count: min(int(count), 64),
    "seconds": float,
    "audio_s": float,
    "processor_pixels": int,
}
_DEFAULT = Limits()
_received: Limits | None = None
