"""Bounds for the settings of image, video and audio processors, which limit the memory for one sample."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import transformers

from layerzoo.authoring import check_counts, check_pixels
from layerzoo.errors import TooLargeError

_SIZES = ("size", "crop_size", "pad_size", "max_image_size", "image_size", "input_size", "min_image_size")
_SIDES = ("size_divisor", "size_divisibility", "patch_size", "window_size", "max_height", "max_width", "max_side")
_TILES = re.compile(r"max_.*(tiles|patches|crops|num)$|max_dynamic_.*|max_num")
"""How the largest number of pieces of an image is called."""
_CLASS_NAMES = ("image_processor_type", "video_processor_type")
_COUNTS_PIXELS = {"min_pixels", "max_pixels", "merge_size", "temporal_patch_size"}
"""Settings of the processors whose edges are numbers of pixels, not lengths (``smart_resize``)."""
_OF_VIDEO = {"num_frames", "fps", "do_sample_frames"}
_PIECES_PIXELS = 1 << 28
"""Pixels of all frames of a video, or of all pieces of an image. The library's defaults go up to this."""
_SAMPLES = 1 << 27
_LARGEST_FFT = 1 << 17
_MOST_FEATURES = 1 << 14
_MOST_FILTERS = 1 << 26
"""Numbers in a bank of mel filters; in use are 200,000."""
_FFT = ("n_fft", "fft_length", "fft_window_size", "frame_length", "win_length")
_FEATURES = ("feature_size", "num_mel_bins", "nb_mel_bins")
_LENGTHS = ("n_samples", "nb_max_samples", "max_length", "nb_max_frames", "max_length_samples")
_SECONDS = ("chunk_length", "chunk_length_s", "max_length_s", "chunk_duration")


def check_processor(model: str, settings: Mapping[str, Any]) -> None:
    """Refuse the settings of a processor with which one sample takes gigabytes.

    Args:
        model: its id, for messages.
        settings: as a file next to a checkpoint has them.
    Raises: TooLargeError.
    """
    check_counts(settings, of=model)
    _check_image(model, settings)
    _check_audio(model, settings)


def _check_image(model: str, settings: Mapping[str, Any]) -> None:
    is_video = _is_of_video(settings)
    are_counts = not _COUNTS_PIXELS.isdisjoint(settings) or _is_of_such_a_class(settings)
    largest = 1.0
    for name in _SIZES:
        for height, width in _sides(settings.get(name), are_counts):
            if width == 1 and is_video:
                _require(model, f"pixels of a video by `{name}`", height, _PIECES_PIXELS)
            else:
                check_pixels(height, width, of=f"{model}, by `{name}` of its processor,")
            largest = max(largest, height * width)
    for name in _SIDES:
        for height, width in _sides(settings.get(name), False):
            check_pixels(height, width, of=f"{model}, by `{name}` of its processor,")
    for name in ("min_pixels", "max_pixels"):
        if _is_number(settings.get(name)):
            _require(model, f"pixels by `{name}`", settings[name], _PIECES_PIXELS)
    patch = next((height * width for height, width in _sides(settings.get("patch_size"), False)), largest)
    for name, value in settings.items():
        if _TILES.fullmatch(name) and _is_number(value):
            piece = patch if "patches" in name else largest
            _require(model, f"pixels of all pieces by `{name}`", piece * value, _PIECES_PIXELS)


def _is_of_video(settings: Mapping[str, Any]) -> bool:
    return isinstance(settings.get("video_processor_type"), str) or not _OF_VIDEO.isdisjoint(settings)


def counts_pixels(processor: Any) -> bool:
    """Return whether the edges of a processor's `size` are the smallest and the largest number of pixels.

    Processors of the kind of Qwen2-VL compute height and width with a function ``smart_resize`` of their module.
    """
    return hasattr(sys.modules.get(getattr(processor, "__module__", "")), "smart_resize")


def _is_of_such_a_class(settings: Mapping[str, Any]) -> bool:
    names = [name for key in _CLASS_NAMES if isinstance(name := settings.get(key), str)]
    return any(counts_pixels(getattr(transformers, name, None)) for name in names)


def _sides(size: Any, are_counts: bool) -> Iterator[tuple[float, float]]:
    """Return the height and width of each image that a setting may describe."""
    if _is_number(size):
        yield size, size
    elif isinstance(size, list) and size and all(map(_is_number, size)):
        yield max(size), max(size)
    elif isinstance(size, dict):
        if _is_number(size.get("height")) and _is_number(size.get("width")):
            yield size["height"], size["width"]
        for name, side in size.items():
            if name not in ("height", "width") and _is_number(side):
                is_area = name.endswith("_pixels") or (are_counts and name.endswith("_edge"))
                yield (side, 1) if is_area else (side, side)


def _check_audio(model: str, settings: Mapping[str, Any]) -> None:
    fft = max((settings[name] for name in _FFT if _is_number(settings.get(name))), default=0)
    features = max((settings[name] for name in _FEATURES if _is_number(settings.get(name))), default=0)
    if not fft and not features:
        return
    rate = settings.get("sampling_rate")
    rate = rate if _is_number(rate) else 16_000
    _require(model, "the length of a Fourier transform", fft, _LARGEST_FFT)
    _require(model, "features of a frame", features, _MOST_FEATURES)
    _require(model, "numbers in its mel filters", fft * features, _MOST_FILTERS)
    for name in _LENGTHS:
        if _is_number(settings.get(name)):
            _require(model, f"samples by `{name}`", settings[name], _SAMPLES)
    for name in _SECONDS:
        if _is_number(settings.get(name)):
            _require(model, f"samples by `{name}`", settings[name] * rate, _SAMPLES)


def _require(model: str, quantity: str, value: float, limit: int) -> None:
    if not value <= limit:
        raise TooLargeError(f"{model}: its processor has {value:.3g} as {quantity}, and at most {limit:,} is read")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
