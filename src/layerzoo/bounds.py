"""Bounds for what a file may describe: far above every model in use, and low enough that nothing fills the memory.

A number in a configuration costs nothing to write, and a library counts up to it before anything is allocated.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from layerzoo.errors import TooLargeError
from layerzoo.printable import shorten
from layerzoo.spec import AudioPreprocess, ImagePreprocess, Preprocess, VideoPreprocess

_LAYERS = re.compile(r"(^|_)(n_?)?(layers?|depths?|blocks?|stages?|repeats?)$")
_PER_LAYER = re.compile(r"_per_")
_MOST_LAYERS = 1_000
"""The deepest networks in use have 130 blocks, and some hundreds of layers. A network of 10,000 small blocks takes
minutes to build and to trace, and 2.4 GB."""
_CLASSES = re.compile(r"(^|_)num_(labels|classes)$")
_MOST_CLASSES = 200_000
"""ImageNet-21k has 21,843. A library that makes a name for each class takes a minute for a million."""
_COUNTS = re.compile(r"(^|_)(num|n|size|sizes|dim|dims|heads|channels|width|height|kernel|experts|groups|factor)(_|$)")
_LARGEST_COUNT = 1 << 31
_PIXELS = 1 << 24
"""Of an image: 17 million, of which a float32 array has 200 MB. The largest in use have 5 million (2560 × 1920), and
the largest limits that a processor states 17 million."""
_VIDEO_PIXELS = 1 << 27
"""Of all frames of a clip."""
_SAMPLES = 1 << 27
"""Of a window of audio: three quarters of an hour at 48 kHz."""


def check_counts(written: Any, *, of: str) -> None:
    """Refuse a configuration with more layers, classes or channels than any network has.

    Args:
        written: a JSON value: a configuration, or the `args` of a declaration.
        of: the model's id, for the message.
    Raises: TooLargeError, which names the setting and its value.
    """
    for prefix, key, value in _settings(written):
        limit = _limit(key)
        if limit is None:
            continue
        numbers = [
            number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int | float)
        ]
        largest = max((abs(number) for number in numbers), default=0)
        if isinstance(value, list) and limit == _MOST_LAYERS:  # a number for each stage, or the indices of layers
            largest = max(largest, len(value))
        if not largest <= limit:  # as NaN is not
            number = shorten(str(value if len(numbers) == 1 else largest), 40)
            raise TooLargeError(
                f"{of}: `{prefix}{key}` is {number}, and no network that is in use has more than {limit:,}. Next: "
                "another checkpoint"
            )


def check_input(preprocess: Preprocess | None, *, of: str) -> None:
    """Refuse an input that would take gigabytes for a single sample. of: the model, for the message.

    Raises: TooLargeError.
    """
    image = preprocess.image if isinstance(preprocess, VideoPreprocess) else preprocess
    if isinstance(image, ImagePreprocess):
        check_pixels(*image.size_px, of=of)
    if isinstance(preprocess, VideoPreprocess) and isinstance(image, ImagePreprocess):
        height, width = image.size_px
        if preprocess.frames * height * width > _VIDEO_PIXELS:
            raise _too_large(
                of, f"{preprocess.frames} frames of {height} × {width} pixels", f"{_VIDEO_PIXELS:,} pixels"
            )
    if isinstance(preprocess, AudioPreprocess) and preprocess.window_s is not None:
        samples = preprocess.window_s * preprocess.sample_rate_hz * preprocess.channels
        if not samples <= _SAMPLES:
            raise _too_large(of, f"{samples:.3g} samples of audio at once", f"{_SAMPLES:,}")


def check_pixels(height: float, width: float, *, of: str) -> None:
    """Refuse images that would take gigabytes of memory.

    Args:
        height: in pixels. width: in pixels.
        of: the model's id, for the message.
    Raises: TooLargeError.
    """
    if not height * width <= _PIXELS:
        raise _too_large(of, f"images of {height} × {width} pixels", f"{_PIXELS:,} pixels")


def free_memory() -> int | None:
    """Return how many bytes of memory are free for this process, or None where the system does not say (macOS).

    Memory that Linux uses for caches counts as free; a limit of the container counts too.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        with contextlib.suppress(OSError, ValueError):  # without a limit it is the word "max"
            limit = int((group / "memory.max").read_text(encoding="ascii"))
            free.append(limit - int((group / "memory.current").read_text(encoding="ascii")))
        return min(free, default=None)
    return None


def _too_large(of: str, quantity: str, limit: str) -> TooLargeError:
    return TooLargeError(f"{of} takes {quantity}, and no network that is in use takes more than {limit}")


def _limit(key: str) -> int | None:
    if _LAYERS.search(key) and not _PER_LAYER.search(key):
        return _MOST_LAYERS
    if _CLASSES.search(key):
        return _MOST_CLASSES
    return _LARGEST_COUNT if _COUNTS.search(key) else None


def _settings(data: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield every setting within a JSON value: its prefix, its key and its value. Without recursion: values may be
    deep."""
    open_values: list[tuple[str, Any]] = [("", data)]
    while open_values:
        prefix, value = open_values.pop()
        if isinstance(value, Mapping):
            for key, item in value.items():
                if isinstance(item, Mapping):
                    open_values.append((f"{prefix}{key}.", item))
                else:
                    yield prefix, str(key), item
                    if isinstance(item, list):
                        open_values.append((f"{prefix}{key}.", item))
        elif isinstance(value, list):
            open_values += [(prefix, child) for child in value if isinstance(child, Mapping | list)]
